"""Label sets as files, for a service without Redis."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from service.api.label_sets.condition import Condition
from service.api.label_sets.label_set import StoredForm, Summary
from service.api.label_sets.quota import Quota
from service.api.label_sets.set_name import SetName
from service.api.label_sets.store import StoreFailed, check_change

OWNER = "owner-"
LOCK_S = 2.0
"""How long a change waits for another process's change: a process that was stopped may hold the lock for ever."""


class FolderStore:
    """A file for each set, in a folder that the API processes of one service share and that ends with the service.

    A file has the summary in its first line, then the document.
    """

    storage = "memory"
    may_be_away = False

    def __init__(self, folder: Path, quota: Quota) -> None:
        self._folder = folder
        self._quota = quota
        folder.mkdir(parents=True, exist_ok=True)

    async def find(self, names: Sequence[SetName]) -> list[Summary | None]:
        with _reported():
            return [self._summary(name) for name in names]

    async def summaries(self) -> dict[SetName, Summary]:
        with _reported():
            return await asyncio.to_thread(self._summaries)

    async def document(self, name: SetName) -> bytes | None:
        with _reported(), contextlib.suppress(FileNotFoundError):
            return (await asyncio.to_thread(self._path(name).read_bytes)).partition(b"\n")[2]
        return None

    async def change(self, name: SetName, new: StoredForm | None, condition: Condition) -> Summary | None:
        with _reported():
            return await asyncio.to_thread(self._change, name, new, condition)

    def _change(self, name: SetName, new: StoredForm | None, condition: Condition) -> Summary | None:
        path = self._path(name)
        with self._locked():
            before = self._summary(name)
            check_change(name, before, new, condition)
            if new is None:
                path.unlink()
                return before
            self._quota.check(name, new.summary, self._summaries())
            path.parent.mkdir(exist_ok=True)
            partial = self._folder / "partial"
            try:
                partial.write_bytes(f"{new.summary}\n".encode() + new.document)
                partial.rename(path)  # readers see the old file or the new one, never a part
            except OSError:
                partial.unlink(missing_ok=True)
                raise
        return before

    def _summary(self, name: SetName) -> Summary | None:
        with contextlib.suppress(FileNotFoundError), self._path(name).open("rb") as file:
            return Summary.read(file.readline().decode().rstrip("\n"))
        return None

    def _summaries(self) -> dict[SetName, Summary]:
        names = [
            SetName(path.parent.name.removeprefix(OWNER), path.stem) for path in self._folder.glob(f"{OWNER}*/*.set")
        ]
        return {name: summary for name in names if (summary := self._summary(name)) is not None}

    def _path(self, name: SetName) -> Path:
        return self._folder / f"{OWNER}{name.owner}" / f"{name.id}.set"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "lock").open("w") as lock:
            end = time.monotonic() + LOCK_S
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.002)
                else:
                    break
            yield


@contextlib.contextmanager
def _reported() -> Iterator[None]:
    """Raise StoreFailed for what the file system cannot do, such as writing to a full disk."""
    try:
        yield
    except OSError as error:
        raise StoreFailed(str(error)) from error
