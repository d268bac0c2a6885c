"""WebDataset tar shards: few large files, for file systems that are slow with many small ones.

Shards are read by an index of their members, not as a stream. Samples are then accessed at random like loose files: the
order, resuming and the number of steps are the same, and one shard serves any number of ranks and workers.
"""

from __future__ import annotations

import io
import json
import logging
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from webdataset.tariterators import base_plus_ext
from webdataset.writer import TarWriter

from model.audio import AudioError, Limits, read
from training.data.manifest import Captioned, ManifestError, clean

log = logging.getLogger(__name__)

AUDIO = ("flac", "wav", "ogg", "mp3", "opus", "m4a")
CAPTION_MEMBERS = ("json", "txt")
# Names of the caption in WebDatasets of other projects.
CAPTION_FIELDS = ("captions", "caption", "text")


def write_shards(clips: Sequence[Captioned], folder: Path, samples: int = 1_000, seed: int = 0) -> tuple[int, int]:
    """Pack `clips`, shuffled, into `shard-000000.tar` and so on, `samples` each, as mono FLAC at their own rates.

    A recording that cannot be read is logged and skipped. A shard gets its name once it is complete. Returns the
    numbers of recordings packed and skipped. Raises FileExistsError where `folder` already holds shards.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob("*.tar")):
        raise FileExistsError(f"{folder} holds shards already")
    order = np.random.default_rng(seed).permutation(len(clips))
    packed = 0
    for number, first in enumerate(range(0, len(order), samples)):
        path = folder / f"shard-{number:06d}.tar"
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file, TarWriter(file, mtime=0) as tar:
            for place, index in enumerate(order[first : first + samples]):
                clip = clips[index]
                try:
                    audio = flac(clip.source)
                except (AudioError, OSError) as error:
                    log.warning("left out %s: %s", clip.name, error)
                    continue
                about = {"captions": clip.captions, "name": clip.audio.name}
                key = f"{number:06d}{place:06d}"
                tar.write({"__key__": key, "flac": audio, "json": json.dumps(about, ensure_ascii=False).encode()})
                packed += 1
        partial.rename(path)
    return packed, len(clips) - packed


def flac(source: Path | bytes) -> bytes:
    """A recording as mono 16-bit FLAC. Raises AudioError or OSError where it cannot be read."""
    waveform = read(source, Limits(max_seconds=3600.0, max_decoded_bytes=4 << 30))
    peak = float(np.abs(waveform.samples).max(initial=0.0))
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform.samples / max(peak, 1.0), waveform.rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def read_shards(folder: Path) -> list[Captioned]:
    """The recordings of every `*.tar` in `folder`, ordered by name.

    A sample has one audio member (one of `AUDIO`), and a member `json` with `captions`, `caption` or `text`, or a
    member `txt`. Raises ManifestError naming a shard that is cut short or a sample without audio or caption.
    """
    shards = sorted(folder.glob("*.tar"))
    if not shards:
        raise ManifestError(f"{folder} holds no shard (*.tar)")
    return [clip for shard in shards for clip in _shard(shard)]


def _shard(path: Path) -> list[Captioned]:
    samples: dict[str, dict[str, Any]] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                key, kind = base_plus_ext(member.name)
                if key is None or not member.isfile():
                    continue
                sample = samples.setdefault(key, {})
                if kind in CAPTION_MEMBERS:
                    file = tar.extractfile(member)
                    sample[kind] = file.read().decode() if file else ""
                elif kind in AUDIO:
                    sample["audio"] = member.offset_data, member.size
            end = tar.offset
    except (tarfile.TarError, OSError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path} cannot be read: {error}") from None
    if end > path.stat().st_size:
        raise ManifestError(f"{path} is cut short")
    return [_sample(path, key, sample) for key, sample in samples.items()]


def _sample(path: Path, key: str, sample: dict[str, Any]) -> Captioned:
    if "audio" not in sample:
        raise ManifestError(f"{path}: the sample {key} has no audio ({', '.join(AUDIO)})")
    captions = clean(_captions(path, key, sample))
    if not captions:
        raise ManifestError(f"{path}: the sample {key} has no caption")
    offset, size = sample["audio"]
    return Captioned(path, captions, offset, size)


def _captions(path: Path, key: str, sample: dict[str, Any]) -> list[object]:
    if "json" not in sample:
        return [sample.get("txt")]
    try:
        about = json.loads(sample["json"])
    except json.JSONDecodeError as error:
        raise ManifestError(f"{path}: the sample {key} has no readable JSON: {error}") from None
    if not isinstance(about, dict):
        return []
    found: object = next((about[field] for field in CAPTION_FIELDS if about.get(field)), sample.get("txt"))
    return found if isinstance(found, list) else [found]
