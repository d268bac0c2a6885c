"""Each peer's own code against its imported checkpoint, on real recordings: `make parity`.

A peer is built with random weights in a virtual environment of its own, saved as it saves itself, and asked about
recordings and prompts. The file is imported, loaded like any checkpoint, and asked the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from model import audio
from model.checkpoint import load
from model.embed import clip_windows, embed_prompts, embed_windows
from model.importers import read

ROOT = Path(__file__).parents[2]
PEERS = Path(__file__).parent / "peers"
PROMPTS = [
    "this is a sound of a dog",
    "rain",
    "This is a sound of a crow, far away, in the rain.",
    "people speaking! loudly",
    "a church bell " * 8,
]


@dataclass(frozen=True)
class Pair:
    """A peer's script and arguments, what it saves, and the largest relative difference that is allowed."""

    name: str
    environment: str
    script: str
    arguments: tuple[str, ...]
    kind: str
    saved: str
    tokenizer: str | None
    rate: int
    seconds: float
    limit: float


PAIRS = (
    Pair("msclap 2022", ".venv-msclap", "msclap_peer", ("2022",), "msclap-2022", "weights.pth", None, 44_100, 5, 1e-4),
    Pair(
        "msclap 2023", ".venv-msclap", "msclap_peer", ("2023",), "msclap-2023", "weights.pth", "gpt2", 44_100, 7, 1e-4
    ),
    *(
        Pair(
            f"transformers ClapModel, {kind}",
            ".venv",
            "transformers_peer",
            (kind,),
            "transformers",
            "weights",
            None,
            48_000,
            10,
            1e-5,
        )
        for kind in ("unfused", "fused")
    ),
    *(
        Pair(
            f"laion_clap, {', '.join(arguments)}",
            ".venv-laion",
            "laion_peer",
            arguments,
            "laion",
            "weights.pt",
            "roberta-base",
            48_000,
            10,
            1e-4,
        )
        for arguments in (("HTSAT-tiny",), ("HTSAT-tiny", "fused"), ("HTSAT-base",), ("PANN-14",))
    ),
)


def recordings(data: Path) -> list[Path]:
    """The examples, and clips of the evaluation sets where they are there."""
    clips = sorted((ROOT / "examples").glob("*.flac")) + sorted((ROOT / "examples").glob("*.wav"))
    sets = [sorted(folder.rglob("*.ogg"))[::97][:1] for folder in sorted((data / "eval").glob("*")) if folder.is_dir()]
    return clips + [clip for part in sets for clip in part]


def write_clips(work: Path, clips: list[Path], rate: int, seconds: float) -> list[Path]:
    """Float wav files of at most the peer's length: beyond it, peers crop at random. Shorter ones stay short."""
    (work / "clips").mkdir()
    written = []
    for number, clip in enumerate(clips):
        path = work / "clips" / f"{number:02}-{clip.stem}.wav"
        samples = audio.load(clip, rate)[: round(rate * seconds)]
        soundfile.write(path, samples, rate, subtype="FLOAT")
        written.append(path)
    return written


def difference(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """The largest of max |ours - theirs| / max |theirs| over the rows."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    axes = tuple(range(1, theirs.ndim))
    rows = np.abs(ours - theirs).max(axis=axes) / np.abs(theirs).max(axis=axes)
    return float(rows.max())


@torch.inference_mode()
def compare(pair: Pair, work: Path, clips: list[Path]) -> dict[str, float]:
    """Largest relative differences of mel, audio, text and logits."""
    written = write_clips(work, clips, pair.rate, pair.seconds)
    (work / "prompts.json").write_text(json.dumps(PROMPTS))
    python = ROOT / pair.environment / "bin" / "python"
    script = PEERS / f"{pair.script}.py"
    done = subprocess.run(
        [python, "-W", "ignore", script, work, *pair.arguments], capture_output=True, text=True, cwd=work
    )
    if done.returncode != 0:
        raise SystemExit(f"{pair.name}: the peer failed\n{done.stderr[-3000:]}")
    theirs = np.load(work / "peer.npz")
    tokenizer = None if pair.tokenizer is None else work / pair.tokenizer
    read(pair.kind, work / pair.saved, pair.name, tokenizer).write(work / "imported")
    checkpoint = load(work / "imported")
    windows = np.concatenate([clip_windows(path, checkpoint)[0] for path in written])
    mel = checkpoint.model.audio_encoder.base.logmel_extractor(torch.from_numpy(windows)).numpy()
    heard, said = embed_windows(checkpoint, windows, batch=4), embed_prompts(checkpoint, PROMPTS)
    ours = {"mel": mel, "audio": heard, "text": said, "logits": checkpoint.logit_scale * heard @ said.T}
    return {name: difference(values, theirs[name]) for name, values in ours.items()}


def table(rows: list[tuple[Pair, dict[str, float]]]) -> str:
    lines = ["| pair | mel | audio embedding | text embedding | logits | allowed |", "|---|---|---|---|---|---|"]
    for pair, found in rows:
        cells = " | ".join(f"{found[name]:.1e}" for name in ("mel", "audio", "text", "logits"))
        lines.append(f"| {pair.name} | {cells} | {pair.limit:.0e} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--only", default="", help="pairs whose name holds this")
    parser.add_argument("--work", type=Path, help="where the weights are made; 3 GB, a temporary directory if absent")
    arguments = parser.parse_args()
    clips = recordings(arguments.data)
    rows = []
    for pair in PAIRS:
        if arguments.only not in pair.name:
            continue
        with tempfile.TemporaryDirectory(dir=arguments.work) as work:
            rows.append((pair, compare(pair, Path(work), clips)))
        sys.stderr.write(f"{pair.name}: {rows[-1][1]}\n")
    sys.stdout.write(f"{len(clips)} recordings, {len(PROMPTS)} prompts, float32\n\n{table(rows)}\n")
    return int(any(max(found["audio"], found["text"]) > pair.limit for pair, found in rows))


if __name__ == "__main__":
    sys.exit(main())
