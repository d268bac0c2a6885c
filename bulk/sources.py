"""SOURCE arguments to items: files, folders, globs, manifests, tar shards, remote file systems and web addresses."""

from __future__ import annotations

import glob
import os
import posixpath
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from bulk.item import Item, Place
from bulk.reading import remote
from model.tables import TableError, csv_rows, json_rows, read_text

SUFFIXES = (
    "3gp 8svx aa aac ac3 aif aifc aiff amr ape asf au avi avr caf dff dsf dss dts dtshd eac3 flac flv gsm iff ircam "
    "loas m4a m4b m4v mka mkv mlp mov mp1 mp2 mp3 mp4 mpc mpeg mpg nist oga ogg oma opus osq qcp qoa ra rf64 rm shn "
    "snd sph spx tak thd truehd ts tta voc w64 wav wave weba webm wma wv xwma"
)
AUDIO = frozenset(SUFFIXES.split())
"""Suffixes of what is taken from folders, globs of folders, and tar files. A file that is named is always taken."""
MANIFESTS = {".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".txt"}
COLUMNS = ("path", "file", "file_name", "filename", "audio", "url")
"""The column of a manifest that names the recording: the first of these that it has."""
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
WEB = ("http://", "https://")


class SourceError(ValueError):
    """A SOURCE that cannot be used; the message names it and the cause."""


def expand(sources: Iterable[str]) -> Iterator[Item]:
    """The items of all sources in their order, folders sorted by path, each item once. Raises SourceError."""
    seen: set[str] = set()
    for source in sources:
        for item in _items(source):
            if item.path not in seen:
                seen.add(item.path)
                yield item


def _items(source: str) -> Iterator[Item]:
    if "://" in source:
        yield from _address(source, named=True)
    elif os.path.lexists(source):
        yield from _local(Path(source))
    elif glob.has_magic(source):
        found = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 - keeps `./` and absolute paths as given
        if not found:
            raise SourceError(f"{source}: no file matches")
        for path in found:
            yield from _local(Path(path))
    else:
        raise SourceError(f"{source}: no such file or folder")


def _local(path: Path) -> Iterator[Item]:
    suffix = path.suffix.lower()
    if path.is_dir():
        yield from _folder(path)
    elif suffix in MANIFESTS:
        yield from _manifest(path)
    elif path.name.lower().endswith(COMPRESSED):
        raise SourceError(f"{path}: a compressed tar file has to be read from its start for each member: unpack it")
    elif suffix == ".tar":
        yield from _tar(str(path))
    else:
        yield file_item(path)


def file_item(path: Path) -> Item:
    return Item(text(str(path)), Place.FILE, str(path))


def text(name: str) -> str:
    """A file name as text: bytes that are not UTF-8 are written as `\\xff`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def is_audio(name: str) -> bool:
    """Whether a folder's file is taken: by its suffix, and unless it is hidden."""
    base = name.rpartition("/")[2]
    return not base.startswith(".") and base.rpartition(".")[2].lower() in AUDIO


def _folder(folder: Path) -> Iterator[Item]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent) / name
            if is_audio(name):
                yield file_item(path)
            elif name.lower().endswith(".tar"):
                yield from _tar(str(path))


def _address(address: str, *, named: bool) -> Iterator[Item]:
    """The items of an address. Folders, globs and tar files are those of a `named` source, not of a manifest's row."""
    if address.startswith(WEB):
        yield Item(address, Place.WEB, address)
        return
    if address.startswith("file://"):
        yield from _items(address.removeprefix("file://"))
        return
    scheme = address.partition("://")[0]
    if not named:
        yield Item(address, Place.REMOTE, address)
        return
    try:
        filesystem, path = remote(address)
        if glob.has_magic(path):
            found = sorted(filesystem.glob(path))
        elif filesystem.isdir(path):
            found = sorted(filesystem.find(path))
            found = [each for each in found if is_audio(each) or each.endswith(".tar")]
        else:
            found = [path]
    except ValueError as error:
        raise SourceError(str(error)) from None
    except Exception as error:  # noqa: BLE001 - each file system raises its own
        raise SourceError(f"{address} cannot be listed: {type(error).__name__}: {str(error)[:300]}") from None
    if not found:
        raise SourceError(f"{address}: no file matches")
    for each in found:
        whole = f"{scheme}://{each.lstrip('/')}" if scheme != "memory" else f"memory://{each}"
        if each.endswith(".tar"):
            yield from _tar(whole)
        else:
            yield Item(whole, Place.REMOTE, whole)


def _tar(location: str) -> Iterator[Item]:
    """The recordings of a tar file, in its order: `SHARD.tar/MEMBER`."""
    try:
        with _binary(location) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.isfile() and is_audio(member.name):
                    path = posixpath.join(text(location), text(member.name))
                    yield Item(path, Place.TAR, location, member.offset_data, member.size)
                archive.members.clear()  # type: ignore[attr-defined] # the archive would keep every header
    except (tarfile.TarError, OSError) as error:
        raise SourceError(f"{location} cannot be read as a tar file: {error}") from None


def _binary(location: str) -> IO[bytes]:
    if "://" not in location:
        return Path(location).open("rb")
    filesystem, path = remote(location)
    file: IO[bytes] = filesystem.open(path, "rb", block_size=1 << 16)
    return file


def _manifest(path: Path) -> Iterator[Item]:
    try:
        names = list(_listed(path))
    except TableError as error:
        raise SourceError(str(error)) from None
    for name in names:
        if "://" in name:
            yield from _address(name, named=False)
        else:
            yield file_item(path.parent / name)


def _listed(path: Path) -> Iterator[str]:
    """The recordings that a manifest names, as it names them. Raises TableError."""
    suffix = path.suffix.lower()
    if suffix == ".txt":
        lines = (line.strip() for line in read_text(path).splitlines())
        yield from (line for line in lines if line and not line.startswith("#"))
    elif suffix == ".parquet":
        yield from _parquet(path)
    elif suffix in (".csv", ".tsv"):
        header = next((line for line in read_text(path).splitlines() if line.strip()), "")
        found = [column for column in COLUMNS if re.search(rf"(^|[,;\t\" ]){column}([,;\t\" ]|$)", header)]
        if not found:
            raise TableError(f"{path}: none of the columns {', '.join(COLUMNS)}")
        for number, row in csv_rows(path, found[:1]):
            yield _named(path, number, row)
    else:
        for number, row in json_rows(path):
            yield _named(path, number, row)


def _named(path: Path, number: int, row: dict[str, str]) -> str:
    name = next((row[column] for column in COLUMNS if column in row), None)
    if name is None:
        raise TableError(f"{path}:{number}: none of the columns {', '.join(COLUMNS)}")
    if not isinstance(name, str) or not name.strip():
        raise TableError(f"{path}:{number}: no path")
    return name.strip()


def _parquet(path: Path) -> Iterator[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        column = next((name for name in COLUMNS if name in file.schema_arrow.names), None)
        if column is None:
            raise TableError(f"{path}: none of the columns {', '.join(COLUMNS)}")
        for batch in file.iter_batches(columns=[column]):
            for number, name in enumerate(batch.column(0).to_pylist(), 1):
                yield _named(path, number, {column: name})
    except (pa.ArrowException, OSError) as error:
        raise TableError(f"{path} cannot be read as Parquet: {error}") from None
