"""A part of a GPU run: its options, and its rows, reported one by one: a crash costs only those that follow."""

from __future__ import annotations

import argparse
import json
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One figure, and whether it is as wanted; None where nothing is wanted of it."""

    part: str
    what: str
    value: str
    wanted: str = ""
    holds: bool | None = None


class Part:
    """Reports rows to a file of JSON lines and to standard output."""

    def __init__(self, name: str, device: str, quick: bool, pack: Path, seconds: float, out: Path) -> None:
        self.name = name
        self.device = device
        self.quick = quick
        self.pack = pack
        self.seconds = seconds
        self.out = out

    def note(self, what: str, value: str, wanted: str = "", holds: bool | None = None) -> None:
        row = Row(self.name, what, value, wanted, holds)
        with self.out.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")
        print(f"{self.name}: {what}: {value}", flush=True)

    def most(self, what: str, value: float, limit: float) -> None:
        """Report a figure that is to be at most `limit`."""
        self.note(what, f"{value:.1e}", f"{limit:.0e} at most", value <= limit)

    @contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Report an exception as a failed row, and go on."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the other measurements are still wanted
            traceback.print_exc()
            self.note(what, f"{type(error).__name__}: {str(error)[:300]}", "no exception", holds=False)


def of_arguments(name: str, arguments: Sequence[str] | None = None) -> Part:
    """The part that the command line describes."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.gpu.{name}")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--pack", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="time that the part may take")
    parser.add_argument("--out", type=Path, required=True, help="file that rows are appended to")
    given = parser.parse_args(arguments)
    return Part(name, given.device, given.quick, given.pack, given.seconds, given.out)
