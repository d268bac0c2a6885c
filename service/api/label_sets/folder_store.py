"""Label sets as files, for a service without Redis."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from service.api.label_sets.condition import Condition
from service.api.label_sets.label_set import LabelSet
from service.api.label_sets.store import check


class FolderStore:
    """Files in a folder that the API processes of one service share. The folder is deleted when the service stops."""

    storage = "memory"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    async def etag(self, id: str) -> str | None:
        with contextlib.suppress(FileNotFoundError), self._path(id).open(encoding="utf-8") as file:
            return file.readline().rstrip("\n")
        return None

    async def etags(self) -> dict[str, str]:
        return {name: etag for name in self._ids() if (etag := await self.etag(name)) is not None}

    async def get(self, id: str) -> LabelSet | None:
        with contextlib.suppress(FileNotFoundError):
            return LabelSet.read(self._path(id).read_text(encoding="utf-8").partition("\n")[2])
        return None

    async def change(self, id: str, new: LabelSet | None, condition: Condition) -> str | None:
        with self._locked():
            before = await self.etag(id)
            check(id, before, new, condition, len(self._ids()))
            if new is None:
                self._path(id).unlink()
            else:
                partial = self._folder / "partial"
                partial.write_text(f"{new.etag}\n{new.document}", encoding="utf-8")
                partial.rename(self._path(id))  # readers see the old file or the new one, never a part
        return before

    def _path(self, id: str) -> Path:
        return self._folder / f"{id.encode().hex()}.set"

    def _ids(self) -> list[str]:
        return [bytes.fromhex(path.stem).decode() for path in self._folder.glob("*.set")]

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
