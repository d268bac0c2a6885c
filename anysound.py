"""The command `anysound`. Each subcommand imports only what it needs."""

from __future__ import annotations

import os
import signal

# The kernel drops signals to process 1 that it does not handle, and the imports below take a second.
if os.getpid() == 1:
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))

import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from training.command import app as train_app

if TYPE_CHECKING:
    from model.audio import Source
    from model.checkpoint import Checkpoint
    from model.classify import Activation

app = typer.Typer(
    name="anysound", help="Classify any sound with any labels.", no_args_is_help=True, pretty_exceptions_enable=False
)
checkpoint_app = typer.Typer(help="Show checkpoints, and import those of other projects.", no_args_is_help=True)
app.add_typer(checkpoint_app, name="checkpoint")
app.add_typer(train_app, name="train")

out = Console(markup=False, highlight=False)
err = Console(stderr=True, markup=False, highlight=False)

MAX_STDIN_BYTES = 1 << 30

ModelOption = Annotated[
    str | None, typer.Option("--model", help="A checkpoint directory or a hub id. Default: the bundled checkpoint.")
]


def fail(message: str) -> typer.Exit:
    """Print `message` on stderr. The caller raises the result, which ends the command with status 2."""
    err.print(message, style="red", soft_wrap=True)
    return typer.Exit(2)


def utf8(text: str, what: str) -> str:
    """An argument as text. Where the locale is not UTF-8, Python decodes arguments as another encoding."""
    try:
        text.encode()
    except UnicodeEncodeError:
        pass
    else:
        return text
    try:
        return os.fsencode(text).decode()
    except UnicodeDecodeError:
        raise fail(f"{what} is not UTF-8: {os.fsencode(text)!r}") from None


def recording(file: Path) -> Source:
    """The source to read for a FILE of the command line. Raises OSError."""
    if str(file) != "-":
        return file
    data = sys.stdin.buffer.read(MAX_STDIN_BYTES + 1)
    if len(data) > MAX_STDIN_BYTES:
        raise OSError(f"standard input holds more than {MAX_STDIN_BYTES >> 20} MiB")
    return data


def open_checkpoint(model: str | None) -> Checkpoint:
    from model.checkpoint import DEFAULT, CheckpointError, load
    from model.hub import resolve

    try:
        return load(DEFAULT if model is None else resolve(model))
    except CheckpointError as error:
        raise fail(str(error)) from None


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def serve(context: typer.Context) -> None:
    """Serve a checkpoint over HTTP. Every option is also an ANYSOUND_* variable; see `anysound serve --help`."""
    from service.supervise.supervisor import main

    raise typer.Exit(main(context.args))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def bench(context: typer.Context) -> None:
    """Measure the service against the bare model and its peers; see `anysound bench --help`."""
    try:
        from benchmarks.__main__ import main
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("benchmarks"):
            raise
        raise fail("anysound bench runs in a checkout of the repository: the image holds no benchmarks") from None
    raise typer.Exit(main(context.args))


@app.command()
def classify(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Recordings in any format; - is standard input.")
    ],
    label: Annotated[list[str], typer.Option("--label", "-l", help="A label. Repeat the option for each label.")],
    template: Annotated[str | None, typer.Option(help="Prompt with one {label}. Default: the checkpoint's.")] = None,
    activation: Annotated[str, typer.Option(help="softmax: scores sum to 1. sigmoid: independent scores.")] = "softmax",
    top_k: Annotated[int | None, typer.Option(min=1, help="Number of scores per file. Default: all.")] = None,
    none_of_these: Annotated[bool, typer.Option("--none-of-these", help="Add the open-set score.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per file.")] = False,
    model: ModelOption = None,
) -> None:
    """Score recordings against labels. The exit status is 1 if a file could not be read."""
    from model.audio import AudioError
    from model.classify import LabelPrompts, clip_embedding, ranked
    from model.embed import clip_windows, embed_prompts, embed_windows
    from model.prompts import Label, check_template

    label = [utf8(name, "a label") for name in label]
    template = None if template is None else utf8(template, "the template")
    kind = checked_activation(activation, label, none_of_these)
    if sum(str(file) == "-" for file in files) > 1:
        raise fail("standard input can be read once only")
    checkpoint = open_checkpoint(model)
    try:
        check_template(template or checkpoint.config.prompts.template)
    except ValueError as error:
        raise fail(str(error)) from None
    prompts = LabelPrompts(
        tuple(map(Label, label)),
        template or checkpoint.config.prompts.template,
        checkpoint.config.prompts.background,
    )
    texts = prompts.prompts
    labels = prompts.assemble(dict(zip(texts, embed_prompts(checkpoint, texts), strict=True)))
    failed = False
    with Progress(console=err, transient=True, disable=len(files) < 2 or not err.is_terminal) as progress:
        for file in progress.track(files, description="classifying"):
            try:
                windows, _ = clip_windows(recording(file), checkpoint)
            except (AudioError, OSError) as error:
                failed = True
                report_failure(file, error, as_json)
                continue
            audio = clip_embedding(embed_windows(checkpoint, windows))
            scores = labels.score(audio, checkpoint.logit_scale, kind, none_of_these)
            rows = ranked(label, scores.score, scores.similarity, top_k)
            none = None if scores.none_of_these is None else float(scores.none_of_these)
            if as_json:
                print_json(file, rows, none)
            else:
                print_table(file, rows, none)
    raise typer.Exit(1 if failed else 0)


def checked_activation(activation: str, labels: list[str], none_of_these: bool) -> Activation:
    if len(set(labels)) != len(labels):
        raise fail("a label is given twice")
    if not all(name.strip() for name in labels):
        raise fail("a label is empty")
    if activation == "sigmoid":
        return "sigmoid"
    if activation != "softmax":
        raise fail(f"unknown activation {activation!r}: give softmax or sigmoid")
    if len(labels) == 1 and not none_of_these:
        raise fail("softmax over one label is always 1: give more labels, --none-of-these, or --activation sigmoid")
    return "softmax"


def report_failure(file: Path, error: Exception, as_json: bool) -> None:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, FileNotFoundError) and any(sign in str(file) for sign in "*?["):
        reason = "no file matches"
    if as_json:
        code = getattr(error, "code", "unreadable")
        print_line({"name": str(file), "error": {"code": code, "detail": reason}})
    else:
        err.print(f"{file}: {reason}", style="red", soft_wrap=True)


def print_json(file: Path, rows: list[tuple[str, float, float]], none: float | None) -> None:
    scores = [{"label": name, "score": score, "similarity": similarity} for name, score, similarity in rows]
    result: dict[str, Any] = {"name": str(file), "scores": scores}
    if none is not None:
        result["none_of_these"] = none
    print_line(result)


def print_line(document: dict[str, Any]) -> None:
    """One line of JSON. What the output's encoding cannot hold is escaped, file names that are not text too."""
    line = json.dumps(document, ensure_ascii=False)
    try:
        line.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        line = json.dumps(document)
    out.out(line)


def print_table(file: Path, rows: list[tuple[str, float, float]], none: float | None) -> None:
    table = Table(title=str(file), title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("label", overflow="fold")
    table.add_column("score", justify="right")
    table.add_column("similarity", justify="right")
    for name, score, similarity in rows:
        table.add_row(name, f"{score:.3f}", f"{similarity:+.3f}")
    if none is not None:
        table.add_row("(none of these)", f"{none:.3f}", "")
    out.print(table)


@app.command()
def embed(
    texts: Annotated[list[str] | None, typer.Option("--text", help="A text to embed.")] = None,
    files: Annotated[
        list[Path] | None, typer.Option("--audio", help="A recording to embed; - is standard input.")
    ] = None,
    model: ModelOption = None,
) -> None:
    """Print L2-normalised embeddings, one JSON object per line: texts first, then recordings."""
    from model.audio import AudioError
    from model.classify import clip_embedding
    from model.embed import clip_windows, embed_prompts, embed_windows

    if not texts and not files:
        raise fail("nothing to embed: give --text or --audio")
    checkpoint = open_checkpoint(model)
    if texts:
        texts = [utf8(text, "a text") for text in texts]
        for text, vector in zip(texts, embed_prompts(checkpoint, texts), strict=True):
            print_line({"text": text, "embedding": vector.tolist()})
    failed = False
    for file in files or ():
        try:
            vector = clip_embedding(embed_windows(checkpoint, clip_windows(recording(file), checkpoint)[0]))
        except (AudioError, OSError) as error:
            failed = True
            report_failure(file, error, as_json=True)
            continue
        print_line({"name": str(file), "embedding": vector.tolist()})
    raise typer.Exit(1 if failed else 0)


@checkpoint_app.command("info")
def checkpoint_info(
    model: Annotated[
        str | None, typer.Argument(help="A directory or a hub id. Default: the bundled checkpoint.")
    ] = None,
) -> None:
    """Show a checkpoint: name, fingerprint, front end, encoders, sizes, sources, training."""
    checkpoint = open_checkpoint(model)
    config = checkpoint.config
    clap = checkpoint.model
    front_end = config.front_end
    rows = {
        "name": config.name,
        "fingerprint": checkpoint.fingerprint,
        "licence": config.licence or "not stated",
        "front end": (
            f"{front_end.sample_rate} Hz, window {front_end.window_length}, hop {front_end.hop_length}, "
            f"{front_end.mel_bins} {front_end.mel_scale} mel bins {front_end.f_min:g}-{front_end.f_max:g} Hz"
        ),
        "windows": f"{front_end.window_s:g} s every {front_end.window_hop_s:g} s, padding {front_end.padding}",
        "audio encoder": f"{config.audio_encoder.kind}, {parameters(clap.audio_encoder):.2f} M parameters",
        "text encoder": (
            f"{config.text_encoder.package or 'in the checkpoint'}, {parameters(clap.caption_encoder):.2f} M parameters"
        ),
        "joint dimension": str(config.joint_dim),
        "logit scale": f"{checkpoint.logit_scale:.2f}",
        "template": config.prompts.template,
        "background": ", ".join(config.prompts.background),
        "sources": "\n".join(config.sources) or "not stated",
        "training": json.dumps(config.training, ensure_ascii=False) if config.training else "not stated",
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    out.print(table)


@checkpoint_app.command("import")
def checkpoint_import(
    kind: Annotated[str, typer.Argument(help="transformers, msclap-2022, msclap-2023, laion, panns or efficientat")],
    source: Annotated[str, typer.Argument(metavar="FILE_OR_REPO", help="The released weights, or their hub id.")],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="The checkpoint directory to write.")],
    name: Annotated[str | None, typer.Option(help="The model's name. Default: its file's.")] = None,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Directory of the tokenizer, for files without one. Default: from the hub.")
    ] = None,
) -> None:
    """Convert a released CLAP to a checkpoint directory. Every key is checked, and no pickled code is run."""
    from model.checkpoint import CheckpointError
    from model.hub import import_model

    try:
        imported = import_model(kind, source, name, tokenizer)
        imported.write(folder)
    except CheckpointError as error:
        raise fail(str(error)) from None
    except OSError as error:
        raise fail(f"{folder} cannot be written: {error.strerror or error}") from None
    for path, digest in imported.files.items():
        out.out(f"{digest}  {path}")
    for note in imported.notes:
        out.print(note, soft_wrap=True)
    out.out(f"{folder}: {imported.model.config.name}, {len(imported.model.state_dict())} tensors")


def parameters(module: Any) -> float:
    return float(sum(p.numel() for p in module.parameters())) / 1e6


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def evaluate(context: typer.Context) -> None:
    """Measure a checkpoint on the paper's data sets; see `anysound evaluate --help`."""
    from evaluation.command import app as evaluation

    evaluation(context.args, prog_name="anysound evaluate")


def main() -> None:
    """Entry point of the console script."""
    # Read when torch is loaded: compute threads that wait leave their core to those that read.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # File names may hold any bytes, and labels any character: printing them never fails.
            unicode = stream.encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if unicode else "backslashreplace")
    app()


if __name__ == "__main__":
    main()
