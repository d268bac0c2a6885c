"""Labels with examples: what they cost a request, and how many examples a label's text should weigh.

python -m benchmarks.examples cost                       # needs no data
python -m benchmarks.examples weight MANIFEST_FOLDER...  # captioned recordings of the training side

`cost` asks the service about the same clip with two registered sets of 32 labels in turn, one of words alone and one
with 32 examples of each label. `weight` draws ten captions that at least 40 recordings have, gives all of them or half
of them K examples, and names the rest of their recordings, with another weight of the text each time.
"""

from __future__ import annotations

import argparse
import base64
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import httpx2
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.caches import service
from evaluation.embeddings import encode
from evaluation.encoder import Encoder
from evaluation.example_scale import OPENING
from evaluation.metrics import Indices
from evaluation.store import Store, default_folder
from evaluation.task import Clip
from model import examples
from model.checkpoint import DEFAULT, load
from model.config import ExampleScale
from model.embed import embed_prompts
from model.prompts import Embeddings, fill
from training.data.manifest import read_manifest

CROW = Path(__file__).parents[1] / "examples" / "crow.flac"
LABELS = 32
TURNS = 300
KIND = 40
"""Recordings of a caption that is drawn from, at least."""
TESTED = 40
COUNTS = (1, 2, 4, 8, 16)
WEIGHTS = (1, 2, 3, 5, 8)
out = Console(markup=False, highlight=False, width=120)


def cost() -> None:
    """Median and 90th percentile of a request's time on the client, in turns."""
    data = base64.b64encode(CROW.read_bytes()).decode()
    given = [{"data": data}] * examples.MAX_EXAMPLES
    words: list[object] = [f"thing {number}" for number in range(LABELS)]
    taught: list[object] = [{"name": name, "examples": given} for name in words]
    audio = {"audio": ("crow.flac", CROW.read_bytes())}
    with service() as (address, _), httpx2.Client(base_url=address, timeout=120) as client:
        for name, labels in (("words", words), ("taught", taught)):
            began = time.perf_counter()
            answer = client.put(f"/v1/label-sets/{name}", json={"labels": labels})
            answer.raise_for_status()
            out.print(f"PUT {name}: {time.perf_counter() - began:.2f} s, {len(answer.content):,} bytes shown")
        times: dict[str, list[float]] = {"words": [], "taught": []}
        for turn in range(2 * TURNS + 20):
            name = ("words", "taught")[turn % 2]
            began = time.perf_counter()
            client.post("/v1/classify", files=audio, data={"label_set": name}).raise_for_status()
            if turn >= 20:
                times[name].append(time.perf_counter() - began)
    table = Table("label set", "labels", "examples", "median", "p90")
    for name, count in (("words", 0), ("taught", LABELS * examples.MAX_EXAMPLES)):
        ninth = statistics.quantiles(times[name], n=10)[-1]
        table.add_row(
            name, str(LABELS), f"{count:,}", f"{1e3 * statistics.median(times[name]):.2f} ms", f"{1e3 * ninth:.2f} ms"
        )
    out.print(table)


def weight(folders: Sequence[Path], draws: int) -> None:
    """Accuracy of naming, by the number of examples that a text weighs as."""
    checkpoint = load(DEFAULT)
    scale = checkpoint.config.example_scale
    captions = {
        clip.audio: clip.captions[0]
        for folder in folders
        for clip in read_manifest(folder / "manifest.jsonl", skip_uncaptioned=True)
    }
    encoder = Encoder(checkpoint)
    with Store(default_folder(), checkpoint.fingerprint, encoder.precision) as store:
        encoded = encode(encoder, [Clip(path, (caption,)) for path, caption in captions.items()], store)
    names, place, counts = np.unique([clip.label for clip in encoded.clips], return_inverse=True, return_counts=True)
    template = checkpoint.config.prompts.template
    texts = embed_prompts(checkpoint, [fill(template, str(name).removeprefix(OPENING)) for name in names])
    kinds = np.flatnonzero(counts >= KIND)
    out.print(f"{len(encoded.clips):,} recordings, {len(kinds)} captions with {KIND} or more, {draws} draws of 10")
    table = Table("text weighs as", *(f"{which}, K={count}" for which in ("all", "half") for count in COUNTS))
    table.add_row("words alone", f"{naming(encoded.joint, place, texts, kinds, 0, False, draws, scale):.3f}")
    for value in WEIGHTS:
        examples.TEXT_WEIGHT = value
        figures = [
            naming(encoded.joint, place, texts, kinds, count, half, draws, scale)
            for half in (False, True)
            for count in COUNTS
        ]
        table.add_row(str(value), *(f"{figure:.3f}" for figure in figures))
    out.print(f"constants: {scale}")
    out.print(table)


def naming(
    audio: Embeddings,
    place: Indices,
    texts: Embeddings,
    kinds: Indices,
    count: int,
    half: bool,
    draws: int,
    scale: ExampleScale | None,
) -> float:
    """Mean accuracy over draws of ten captions."""
    rng = np.random.default_rng(0)
    right = []
    for _ in range(draws):
        drawn = rng.choice(kinds, 10, replace=False)
        taught = set(rng.permutation(10)[:5].tolist()) if half else set(range(10))
        prototypes, tested, truth = {}, [], []
        for row, kind in enumerate(drawn):
            own = rng.permutation(np.flatnonzero(place == kind))
            if count and row in taught:
                prototypes[row] = examples.Prototype.of(audio[own[:count]])
            rest = own[max(COUNTS) :][:TESTED]
            tested.append(audio[rest])
            truth += [row] * len(rest)
        rows, offsets = examples.with_examples(texts[drawn], prototypes, scale)
        right.append(float(((np.concatenate(tested) @ rows.T + offsets).argmax(axis=1) == truth).mean()))
    return float(np.mean(right))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("cost")
    weighing = commands.add_parser("weight")
    weighing.add_argument("folders", type=Path, nargs="+")
    weighing.add_argument("--draws", type=int, default=100)
    arguments = parser.parse_args()
    if arguments.command == "cost":
        cost()
    else:
        weight(arguments.folders, arguments.draws)


if __name__ == "__main__":
    main()
