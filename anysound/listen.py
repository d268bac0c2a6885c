"""`anysound listen`"""

from __future__ import annotations

import io
import json
import queue
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from anysound.classify import checked_activation
from anysound.console import fail, out, print_line
from anysound.options import ModelOption, open_checkpoint, utf8

if TYPE_CHECKING:
    from model.audio.pcm import Encoding

PIECE_S = 0.1
WAITING_PIECES = 100
"""Pieces of the microphone that may wait; further ones are lost."""


def listen(
    source: Annotated[
        Path | None, typer.Argument(metavar="[-]", help="-: raw PCM on standard input. Default: the microphone.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="A label. Repeat the option for each label.")
    ] = None,
    template: Annotated[str | None, typer.Option(help="Prompt with one {label}. Default: the checkpoint's.")] = None,
    activation: Annotated[str, typer.Option(help="softmax: scores sum to 1. sigmoid: independent scores.")] = "sigmoid",
    top_k: Annotated[int | None, typer.Option(min=1, help="Number of scores per line. Default: all.")] = None,
    none_of_these: Annotated[bool, typer.Option("--none-of-these", help="Add the open-set score.")] = False,
    hop: Annotated[float, typer.Option(min=0.25, help="Seconds from one line to the next.")] = 1.0,
    rate: Annotated[
        int | None, typer.Option(min=4_000, max=192_000, help="Sample rate. Default: the microphone's, or 16000.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="Samples on standard input: s16le or f32le, mono.")] = "s16le",
    as_json: Annotated[bool, typer.Option("--json", help="Print the stream's messages as JSON.")] = False,
    url: Annotated[str | None, typer.Option(help="A service to ask. Default: compute here.")] = None,
    key: Annotated[str | None, typer.Option(envvar="ANYSOUND_API_KEY", help="The service's API key.")] = None,
    model: ModelOption = None,
) -> None:
    """Score live audio, one line per hop, until it ends or Ctrl-C."""
    from model.audio.pcm import Encoding

    names = [utf8(name, "a label") for name in label or ()]
    if not names:
        raise fail("no label: give --label")
    checked_activation(activation, names, none_of_these)
    if encoding not in get_args(Encoding):
        raise fail(f"unknown encoding {encoding!r}: give s16le or f32le")
    if source is not None and str(source) != "-":
        raise fail("listen takes the microphone or standard input (-); `anysound classify --events` reads files")
    fields = {"activation": activation, "none_of_these": none_of_these, "hop_s": hop}
    if template is not None:
        fields["template"] = utf8(template, "the template")
    if top_k is not None:
        fields["top_k"] = top_k
    if source is None:
        rate, pieces = microphone(rate)
        form: Encoding = "f32le"
    else:
        rate, form = rate or 16_000, "s16le" if encoding == "s16le" else "f32le"
        pieces = standard_input(rate, form)
    answers = (
        here(pieces, rate, form, names, fields, model)
        if url is None
        else there(pieces, rate, form, names, fields, url, key)
    )
    try:
        for message in answers:
            if as_json:
                print_line(message)
            elif message["type"] == "scores":
                print_scores(message)
            elif message["type"] == "dropped":
                out.out(f"({message['windows']} windows dropped)")
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def print_scores(message: dict[str, Any]) -> None:
    rows = "  ".join(f"{each['label']} {each['score']:.2f}" for each in message["scores"])
    none = f"  (none of these) {message['none_of_these']:.2f}" if "none_of_these" in message else ""
    out.out(f"{message['end_s']:8.2f} s  {rows}{none}")


def standard_input(rate: int, encoding: Encoding) -> Iterator[bytes]:
    size = round(PIECE_S * rate) * (2 if encoding == "s16le" else 4)
    stream = cast(io.BufferedReader, sys.stdin.buffer)
    while data := stream.read1(size):
        yield data


def microphone(rate: int | None) -> tuple[int, Iterator[bytes]]:
    """The microphone's sample rate, and its samples in pieces of float32."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: the PortAudio library is absent
        raise fail(
            f"the microphone needs `pip install 'anysound[listen]'` and PortAudio ({error}); "
            "or send raw PCM: anysound listen --rate 16000 -"
        ) from None
    try:
        rate = rate or int(sounddevice.query_devices(kind="input")["default_samplerate"])
    except (sounddevice.PortAudioError, ValueError) as error:
        raise fail(f"no microphone: {error}") from None

    def pieces() -> Iterator[bytes]:
        waiting: queue.Queue[bytes] = queue.Queue(WAITING_PIECES)

        def heard(samples: Any, *_: object) -> None:
            try:
                waiting.put_nowait(bytes(samples))
            except queue.Full:
                return

        try:
            with sounddevice.RawInputStream(rate, round(PIECE_S * rate), channels=1, dtype="float32", callback=heard):
                while True:
                    yield waiting.get()
        except sounddevice.PortAudioError as error:
            raise fail(f"the microphone cannot be read: {error}") from None

    return rate, pieces()


def here(
    pieces: Iterator[bytes], rate: int, encoding: Encoding, names: list[str], fields: dict[str, Any], model: str | None
) -> Iterator[dict[str, Any]]:
    """The scores of each window, computed in this process, in the form of the service's messages."""
    import numpy as np

    from model.audio import AudioError
    from model.audio.pcm import Pcm
    from model.classify import LabelPrompts, ranked
    from model.embed import embed_prompts, embed_windows
    from model.prompts import Label, check_template
    from model.windows import StreamWindow, WindowCutter

    checkpoint = open_checkpoint(model)
    front_end, prompts = checkpoint.config.front_end, checkpoint.config.prompts
    if fields["hop_s"] > front_end.window_s:
        raise fail(f"--hop: {fields['hop_s']:g} s is longer than the model's window of {front_end.window_s:g} s")
    template = fields.get("template", prompts.template)
    try:
        check_template(template)
    except ValueError as error:
        raise fail(str(error)) from None
    labels = LabelPrompts(tuple(map(Label, names)), template, prompts.background)
    vectors = labels.assemble(dict(zip(labels.prompts, embed_prompts(checkpoint, labels.prompts), strict=True)))
    pcm = Pcm(encoding, rate, front_end.sample_rate)
    cutter = WindowCutter(front_end.window_samples, round(fields["hop_s"] * front_end.sample_rate), front_end.padding)

    def message(window: StreamWindow) -> dict[str, Any]:
        audio = embed_windows(checkpoint, window.samples[np.newaxis])[0]
        scores = vectors.score(audio, checkpoint.logit_scale, fields["activation"], fields["none_of_these"])
        rows = ranked(names, scores.score, scores.similarity, fields.get("top_k"))
        none = {} if scores.none_of_these is None else {"none_of_these": float(scores.none_of_these)}
        return {
            "type": "scores",
            "start_s": window.start / front_end.sample_rate,
            "end_s": window.end / front_end.sample_rate,
            "scores": [{"label": name, "score": score, "similarity": cosine} for name, score, cosine in rows],
            **none,
        }

    try:
        for piece in pieces:
            yield from map(message, cutter.cut(pcm.samples(piece)))
        yield from map(message, cutter.cut(pcm.end()))
        yield from map(message, cutter.finish())
    except AudioError as error:
        raise fail(error.detail) from None


def there(
    pieces: Iterator[bytes],
    rate: int,
    encoding: Encoding,
    names: list[str],
    fields: dict[str, Any],
    url: str,
    key: str | None,
) -> Iterator[dict[str, Any]]:
    """The messages of the service at `url`."""
    import threading

    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    address = url.rstrip("/").replace("http", "ws", 1) + "/v1/stream"
    headers = None if key is None else {"Authorization": f"Bearer {key}"}
    opening = {**fields, "labels": names, "sample_rate": rate, "encoding": encoding}
    try:
        with connect(address, additional_headers=headers, compression=None) as socket:
            socket.send(json.dumps(opening))

            def send() -> None:
                try:
                    for piece in pieces:
                        socket.send(piece)
                    socket.send('{"type": "end"}')
                except WebSocketException:
                    return  # the reader says why

            first = json.loads(socket.recv())
            if first.get("type") != "ready":
                raise fail(f"{url}: {first.get('detail', first)}")
            threading.Thread(target=send, daemon=True).start()
            for text in socket:
                message = json.loads(text)
                if "code" in message:
                    raise fail(f"{url}: {message['detail']}")
                if message["type"] != "done":
                    yield message
    except (OSError, WebSocketException) as error:
        raise fail(f"{url}: {error}") from None
