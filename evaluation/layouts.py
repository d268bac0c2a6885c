"""How data sets name their clips: tables, folders, file names."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from evaluation.task import SUFFIXES, Clip, LayoutError
from model.tables import TableError, read_text


class Row(dict[str, str]):
    """One row of the table `path`, by column. Reading a missing column raises a LayoutError that names it."""

    def __init__(self, path: Path, cells: Mapping[str, str | None]) -> None:
        super().__init__({name: cell or "" for name, cell in cells.items()})
        self.path = path

    def __missing__(self, column: str) -> str:
        raise LayoutError(f"{self.path} has no column {column!r}, only {', '.join(self)}")


def table(path: Path, delimiter: str = ",") -> Iterator[Row]:
    """Rows of an official table with a header."""
    for cells in csv.DictReader(lines(path), delimiter=delimiter):
        yield Row(path, {name: cell for name, cell in cells.items() if isinstance(name, str)})


def rows(path: Path, delimiter: str = ",") -> Iterator[list[str]]:
    """Rows of a table without a header; empty lines and `#` comments are skipped."""
    yield from csv.reader(
        (line for line in lines(path) if line.strip() and not line.startswith("#")),
        delimiter=delimiter,
        skipinitialspace=True,
    )


def lines(path: Path) -> list[str]:
    """The lines of a text file. Raises LayoutError where it cannot be read as text."""
    try:
        return [line.rstrip("\n") for line in io.StringIO(read_text(path), newline=None)]
    except TableError as error:
        raise LayoutError(str(error)) from None


def recordings(folder: Path) -> list[Path]:
    """The audio files in a folder, ordered by name; empty if there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def by_folder(root: Path, folders: Mapping[str, str]) -> list[Clip]:
    """Clips labelled by their folder: {folder: class}."""
    return [Clip(path, (label,)) for folder, label in folders.items() for path in recordings(root / folder)]


def spoken(name: str) -> str:
    """A class name as words: `sea_waves` -> `sea waves`."""
    return name.replace("_", " ")


def same(names: Iterable[str]) -> dict[str, str]:
    """Classes for folders that are named after them: {folder: class}."""
    return {name: spoken(name) for name in names}


def holds(root: Path, names: Sequence[str]) -> bool:
    """Whether `root` has every one of the files or folders."""
    return all((root / name).exists() for name in names)
