"""API keys: a file with the SHA-256 hash of one key per line, read again when it changes."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from pathlib import Path

from starlette.datastructures import Headers

from service.api.problems import Code, Problem

log = logging.getLogger("anysound.keys")

HASH = re.compile(r"[0-9a-f]{64}")


class KeysError(ValueError):
    """The keys file is invalid; the message names the line."""


def read_keys(path: Path) -> list[bytes]:
    """The hashes in a file; `#` starts a comment. Raises KeysError if the file is invalid, OSError if unreadable."""
    keys = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) != 1 or not HASH.fullmatch(words[0].lower()):
            raise KeysError(f"{path}:{number}: not a SHA-256 hash in hexadecimal")
        keys.append(bytes.fromhex(words[0]))
    if not keys:
        raise KeysError(f"{path} contains no key")
    return keys


class Keys:
    """The keys that requests are checked against. Without a file, every request passes."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._version: tuple[int, int] | None = None
        self._hashes: list[bytes] = []
        if path is not None:
            self._hashes = read_keys(path)
            self._version = self._stat(path)

    def check(self, headers: Headers) -> str | None:
        """A name for the request's key that does not reveal it; None if no key is needed.

        Raises Problem if the key is unknown. Compares with every hash, in constant time.
        """
        if self._path is None:
            return None
        self._reload(self._path)
        given = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ").strip()
        digest = hashlib.sha256(given.encode()).digest()
        known = False
        for stored in self._hashes:
            known |= hmac.compare_digest(stored, digest)
        if not known:
            detail = "A valid API key is needed, as `Authorization: Bearer KEY` or `X-API-Key: KEY`."
            raise Problem(Code.UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})
        return hashlib.sha256(digest).hexdigest()[:32]

    def _reload(self, path: Path) -> None:
        try:
            version = self._stat(path)
            if version != self._version:
                self._hashes, self._version = read_keys(path), version
        except (OSError, KeysError) as error:
            log.error("the keys read before stay in force: %s", error)

    @staticmethod
    def _stat(path: Path) -> tuple[int, int]:
        status = path.stat()
        return status.st_mtime_ns, status.st_size
