"""WebDataset tar shards: few large files, for file systems and object stores that are slow with many small ones.

Shards are read by an index of their members, not as a stream. Samples are then accessed at random like loose files: the
order, resuming and the number of steps are the same, and one shard serves any number of ranks and workers.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import tarfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile
from braceexpand import braceexpand
from webdataset.tariterators import base_plus_ext
from webdataset.writer import TarWriter

from model.audio import AudioError, Limits, read
from training.data.manifest import Captioned, ManifestError, clean
from training.data.remote import RangeFile, is_pipe, is_url, kept, listed, read_range, size_of

log = logging.getLogger(__name__)

AUDIO = ("flac", "wav", "ogg", "mp3", "opus", "m4a", "aac", "aif", "aiff", "au", "mp4", "webm", "wma")
CAPTION_MEMBERS = ("json", "txt")
# Names of the caption in WebDatasets of other projects.
CAPTION_FIELDS = ("captions", "caption", "text")

INDEX = "index.jsonl"
"""Beside shards: a line for each with its name, its size and its samples."""
READERS = 8
"""Shards that are indexed at a time."""

LIMITS = Limits(max_seconds=3600.0, max_decoded_bytes=4 << 30)


def write_shards(clips: Sequence[Captioned], folder: Path, samples: int = 1_000, seed: int = 0) -> tuple[int, int]:
    """Pack `clips`, shuffled, into `shard-000000.tar` and so on, `samples` each, with an index.

    A recording keeps its own coding, or becomes mono FLAC if its suffix is not in `AUDIO`. One that cannot be read is
    logged and skipped. A shard gets its name once it is complete. Returns the numbers of recordings packed and skipped.
    Raises FileExistsError where `folder` already holds shards.
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
                    kind, audio = coded(clip)
                except (AudioError, OSError) as error:
                    log.warning("left out %s: %s", clip.name, error)
                    continue
                about = {"captions": clip.captions, "name": clip.audio.name}
                key = f"{number:06d}{place:06d}"
                tar.write({"__key__": key, kind: audio, "json": json.dumps(about, ensure_ascii=False).encode()})
                packed += 1
        partial.rename(path)
    write_index(folder / INDEX, [index_of(str(path)) for path in sorted(folder.glob("*.tar"))])
    return packed, len(clips) - packed


def coded(clip: Captioned) -> tuple[str, bytes]:
    """A recording's suffix and its bytes. Raises AudioError or OSError where it cannot be read."""
    kind = clip.audio.suffix.removeprefix(".").lower()
    source = clip.source
    if clip.size is None and kind in AUDIO:
        source = clip.audio.read_bytes()
        read(source, LIMITS)
        return kind, source
    waveform = read(source, LIMITS)
    peak = float(np.abs(waveform.samples).max(initial=0.0))
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform.samples / max(peak, 1.0), waveform.rate, format="FLAC", subtype="PCM_16")
    return "flac", buffer.getvalue()


def expanded(locations: Iterable[str], data: Path) -> list[str]:
    """Every shard of `locations`: folders, tar files, URLs of either, `pipe:` commands, with braces expanded.

    Local paths are relative to `data`. Raises ManifestError where a folder holds no shard.
    """
    found: list[str] = []
    for location in (part for text in locations for part in braceexpand(text)):
        if is_pipe(location) or (is_url(location) and location.split("?")[0].endswith(".tar")):
            found.append(location)
            continue
        if is_url(location):
            try:
                shards = listed(location, "*.tar")
            except (OSError, ValueError, ModuleNotFoundError) as error:
                raise ManifestError(f"{location} cannot be listed: {error}") from None
        elif (data / location).is_dir():
            shards = sorted(map(str, (data / location).glob("*.tar")))
        else:
            shards = [str(data / location)]
        if not shards:
            raise ManifestError(f"{location if is_url(location) else data / location} holds no shard (*.tar)")
        found += shards
    return found


def read_shards(
    locations: str | Path | Sequence[str], data: Path = Path(), index: Path | None = None
) -> list[Captioned]:
    """The recordings of the shards at `locations`, in their order and, within a folder, by name.

    A sample has one audio member (one of `AUDIO`), and a member `json` with `captions`, `caption` or `text`, or a
    member `txt`. The index beside the shards is used if there is one; otherwise the one in the folder `index`, which is
    made if it is not there. Raises ManifestError naming a shard that is cut short or a sample without audio or caption.
    """
    texts = [str(locations)] if isinstance(locations, str | Path) else list(locations)
    shards = expanded(texts, data)
    digest = hashlib.sha256("\n".join(shards).encode()).hexdigest()[:16]
    made = None if index is None else index / f"{digest}.jsonl"
    copies = Path("shards") if index is None else index / "copies"
    rows = {} if made is None or not made.exists() else read_index(made)
    for folder in dict.fromkeys(shard.rpartition("/")[0] for shard in shards if shard not in rows):
        rows |= {f"{folder}/{name}": row for name, row in beside(folder).items()}
    known = {shard: rows[shard] for shard in shards if is_current(shard, rows.get(shard))}
    unknown = [shard for shard in shards if shard not in known]
    if unknown:
        if any(map(is_url, unknown)):
            log.info("indexing %d shards", len(unknown))
        with ThreadPoolExecutor(READERS) as pool:
            known |= dict(zip(unknown, pool.map(lambda shard: index_of(shard, copies), unknown), strict=True))
        if made is not None and any(map(is_url, unknown)):
            made.parent.mkdir(parents=True, exist_ok=True)
            write_index(made, [known[shard] for shard in shards])
    return [clip for shard in shards for clip in _clips(shard, known[shard]["samples"], copies)]


def beside(folder: str) -> dict[str, dict[str, Any]]:
    """The rows of the index in `folder`, by the names of their shards; none if it has no index."""
    place = f"{folder}/{INDEX}"
    try:
        if is_pipe(folder):
            return {}
        if is_url(folder):
            text = read_range(place, 0, size_of(place)).decode()
        else:
            text = Path(place).read_text(encoding="utf-8")
    except (OSError, ValueError, ModuleNotFoundError):
        return {}
    return {row["shard"].rpartition("/")[2]: row for row in _rows(text)}


def is_current(shard: str, row: dict[str, Any] | None) -> bool:
    """Whether an index's row describes a shard; of a local one its size is compared."""
    if row is None:
        return False
    return is_url(shard) or (Path(shard).exists() and Path(shard).stat().st_size == row["size"])


def read_index(path: Path) -> dict[str, dict[str, Any]]:
    return {row["shard"]: row for row in _rows(path.read_text(encoding="utf-8"))}


def _rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def write_index(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    partial.replace(path)


def index_of(shard: str, copies: Path = Path("shards")) -> dict[str, Any]:
    """A shard's row of an index: its place, size, and samples as offset, size and captions. Raises ManifestError."""
    samples: dict[str, dict[str, Any]] = {}
    try:
        with opened(shard, copies) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                key, kind = base_plus_ext(member.name)
                if key is None or not member.isfile():
                    continue
                sample = samples.setdefault(key, {})
                if kind in CAPTION_MEMBERS:
                    content = tar.extractfile(member)
                    sample[kind] = content.read().decode() if content else ""
                elif kind in AUDIO:
                    sample["audio"] = member.offset_data, member.size
            end = tar.offset
            size = file.seek(0, io.SEEK_END)
    except (tarfile.TarError, OSError, UnicodeDecodeError, ValueError, ModuleNotFoundError) as error:
        raise ManifestError(f"{shard} cannot be read: {error}") from None
    if end > size:
        raise ManifestError(f"{shard} is cut short")
    rows = [_sample(shard, key, sample) for key, sample in samples.items()]
    return {"shard": shard, "size": size, "samples": rows}


def opened(shard: str, copies: Path) -> IO[bytes]:
    """A shard to read and seek in. Raises OSError."""
    if is_url(shard) and not is_pipe(shard):
        return io.BufferedReader(RangeFile(shard))
    return (kept(shard, copy_of(shard, copies)) if is_pipe(shard) else Path(shard)).open("rb")


def copy_of(command: str, copies: Path) -> Path:
    """Where the output of a `pipe:` command is kept."""
    return copies / f"{hashlib.sha256(command.encode()).hexdigest()[:32]}.tar"


def _clips(shard: str, samples: Iterable[Sequence[Any]], copies: Path) -> list[Captioned]:
    if is_pipe(shard):
        path, url = copy_of(shard, copies), shard
    elif is_url(shard):
        path, url = Path(shard.split("?")[0].rpartition("/")[2]), shard
    else:
        path, url = Path(shard), ""
    return [Captioned(path, tuple(captions), offset, size, url=url) for offset, size, captions in samples]


def _sample(shard: str, key: str, sample: dict[str, Any]) -> list[Any]:
    if "audio" not in sample:
        raise ManifestError(f"{shard}: the sample {key} has no audio ({', '.join(AUDIO)})")
    captions = clean(_captions(shard, key, sample))
    if not captions:
        raise ManifestError(f"{shard}: the sample {key} has no caption")
    return [*sample["audio"], captions]


def _captions(shard: str, key: str, sample: dict[str, Any]) -> list[object]:
    if "json" not in sample:
        return [sample.get("txt")]
    try:
        about = json.loads(sample["json"])
    except json.JSONDecodeError as error:
        raise ManifestError(f"{shard}: the sample {key} has no readable JSON: {error}") from None
    if not isinstance(about, dict):
        return []
    found: object = next((about[field] for field in CAPTION_FIELDS if about.get(field)), sample.get("txt"))
    return found if isinstance(found, list) else [found]
