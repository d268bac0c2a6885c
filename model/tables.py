"""Tables that people make: CSV from spreadsheets in any common dialect, and JSON lines.

They may be UTF-8 with or without a byte order mark, UTF-16 with one, or else Windows-1252 (a superset of Latin-1's
text), with commas, semicolons or tabs between cells and any line ends. A row that cannot be read raises a TableError
that names it.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

DELIMITERS = (",", ";", "\t")
MAX_CELL = 16 << 20
"""Characters in one cell."""


class TableError(ValueError):
    """The table cannot be read; the message names the file, the row where there is one, and the cause."""


def read_text(path: Path) -> str:
    """The text of a file. Raises TableError where it cannot be read or is not text."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror}") from None
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        if wide:
            raise TableError(f"{path} begins with the mark of UTF-16 but is not UTF-16: {error.reason}") from None
        text = _windows_1252(path, data, error.start)
    if (place := text.find("\0")) >= 0:
        raise TableError(f"{path}:{text.count(chr(10), 0, place) + 1}: a NUL character; the file is not UTF-8 text")
    return text


def _windows_1252(path: Path, data: bytes, first: int) -> str:
    """`data` is not UTF-8 at byte `first`."""
    row = data.count(b"\n", 0, first) + 1
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        raise TableError(f"{path}:{row}: not UTF-8 text (byte 0x{data[error.start]:02x}); save it as UTF-8") from None
    log.warning("%s:%d: not UTF-8 (byte 0x%02x); read as Windows-1252", path, row, data[first])
    return text


def csv_rows(path: Path, required: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a table with a header, by column, each with the number of its first line.

    The delimiter is the one with which the header has the columns `required`. Empty rows are left out, missing cells at
    a row's end are "". Raises TableError for a column that is missing or there twice, a row with more cells than the
    header, and a quote that is not closed.
    """
    text = read_text(path)
    sep = re.match(r"sep=(.)\r?\n", text, re.IGNORECASE)  # a first line that Excel understands
    if sep:
        text = "\n" + text[sep.end() :]
    delimiter = sep[1] if sep else _delimiter(text, required)
    csv.field_size_limit(MAX_CELL)
    table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    header: list[str] = []
    before = 0
    try:
        for cells in table:
            number, before = before + 1, table.line_num
            if not any(cell.strip() for cell in cells):
                continue
            if header:
                yield number, _row(f"{path}:{number}", header, cells, delimiter)
            else:
                header = _header(path, cells, required)
    except csv.Error as error:
        cause = "a quote is not closed" if "unexpected end" in str(error) else str(error)
        raise TableError(f"{path}:{before + 1}: {cause}") from None


def _delimiter(text: str, required: Sequence[str]) -> str:
    header = next((line for line in io.StringIO(text, newline=None) if line.strip()), "")
    for delimiter in DELIMITERS:
        if set(required) <= set(_columns(next(csv.reader([header], delimiter=delimiter, skipinitialspace=True), []))):
            return delimiter
    return max(DELIMITERS, key=header.count)


def _columns(cells: Sequence[str]) -> list[str]:
    """Names of the columns, without empty ones at the end."""
    names = [cell.strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    return names


def _header(path: Path, cells: Sequence[str], required: Sequence[str]) -> list[str]:
    names = _columns(cells)
    for name in required:
        if name not in names:
            raise TableError(f"{path}: no column `{name}` among {', '.join(names)}")
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise TableError(f"{path}: the column `{twice[0]}` is there twice")
    return names


def _row(place: str, header: Sequence[str], cells: Sequence[str], delimiter: str) -> dict[str, str]:
    if any(cell.strip() for cell in cells[len(header) :]):
        name = "tab" if delimiter == "\t" else delimiter
        raise TableError(
            f"{place}: {len(cells)} cells, the header has {len(header)} ({', '.join(header)}); "
            f'a text that contains {name} must be in quotes, "like this"'
        )
    return {name: cells[index] if index < len(cells) else "" for index, name in enumerate(header) if name}


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a file of JSON lines, each with the number of its line. Empty lines are left out.

    Raises TableError for a line that is not a JSON object.
    """
    for number, line in enumerate(io.StringIO(read_text(path), newline=None), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise TableError(f"{path}:{number}: not JSON ({error.msg})") from None
        except (ValueError, RecursionError) as error:  # e.g. thousands of digits or brackets
            raise TableError(f"{path}:{number}: not JSON that can be read ({error})") from None
        if not isinstance(row, dict):
            raise TableError(f"{path}:{number}: not a JSON object")
        yield number, row
