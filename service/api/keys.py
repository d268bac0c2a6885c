"""API keys: SHA-256 hashes in a file, one a line, read again when the file changes."""

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
    """The file of keys cannot be used; the message names the line."""


def read_keys(path: Path) -> list[bytes]:
    """The hashes of a file; `#` begins a comment. Raises KeysError for a line that is none, OSError for no file."""
    keys = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        if len(words) != 1 or not HASH.fullmatch(words[0].lower()):
            raise KeysError(f"{path}:{number}: not a SHA-256 in hexadecimal")
        keys.append(bytes.fromhex(words[0]))
    if not keys:
        raise KeysError(f"{path} holds no key")
    return keys


class Keys:
    """Who may come in. Without a file, everyone."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._version: tuple[int, int] | None = None
        self._hashes: list[bytes] = []
        if path is not None:
            self._hashes = read_keys(path)
            self._version = self._stat(path)

    def check(self, headers: Headers) -> str | None:
        """A name for the request's key, which does not give it away; None where no key is needed.

        Raises Problem unless the key is known. Every hash is compared, in constant time.
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
            detail = "A known API key is needed, as `Authorization: Bearer KEY` or `X-API-Key: KEY`."
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
