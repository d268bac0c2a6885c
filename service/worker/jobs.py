"""The jobs that a worker has accepted and not answered yet."""

from __future__ import annotations

from dataclasses import dataclass

from model.native import Recording
from service.ipc.embedding import Vectors

Key = tuple[bytes, int]
"""Key of a job: the client, and the client's number for it."""


@dataclass(slots=True)
class Job:
    """A request's items, n windows or n prompts, and the embeddings [n, d] that are done so far."""

    client: bytes
    id: int
    items: Vectors | Recording | list[str]
    vectors: Vectors
    left: int
    request_id: str

    @property
    def key(self) -> Key:
        return self.client, self.id

    def put(self, index: int, vector: Vectors) -> bool:
        """Store the embedding [d] of one item. Returns whether the job is complete."""
        self.vectors[index] = vector
        self.left -= 1
        return self.left == 0


class JobTable:
    """Open jobs by client and number."""

    def __init__(self) -> None:
        self._jobs: dict[Key, Job] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._jobs

    def open(self, job: Job) -> None:
        self._jobs[job.key] = job

    def close(self, key: Key) -> Job | None:
        """Remove a job; None if it is not open."""
        return self._jobs.pop(key, None)

    def of(self, client: bytes) -> list[Key]:
        """The open jobs of one client."""
        return [key for key in self._jobs if key[0] == client]
