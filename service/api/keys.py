"""API keys: a file with the SHA-256 hash of one key per line and, optionally, its caller's name."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
from pathlib import Path

from starlette.datastructures import Headers

from service.api.problems import Code, Problem

log = logging.getLogger("anysound.keys")

HASH = re.compile(r"[0-9a-fA-F]{64}")
NAME = re.compile(r"[A-Za-z0-9._-]{1,31}")
UNNAMED_LENGTH = 32
"""Length of the name of a caller whose key has none in the file. No given name is as long."""
NO_KEY = {hashlib.sha256(text).digest() for text in (b"", b"\n", b"\r\n")}
"""The hash of an empty key, which commands print if the variable with the key is not set."""


class KeysError(ValueError):
    """The keys file is invalid; the message names the line."""


def read_keys(path: Path) -> dict[bytes, str]:
    """The hashes in a file and the caller each belongs to; `#` starts a comment.

    Keys with the same name belong to one caller. A key without a name is a caller of its own, whose name is derived
    from the hash and does not reveal it. Raises KeysError if the file is invalid, OSError if it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise KeysError(f"{path} is not a text file in UTF-8") from None
    callers: dict[bytes, str] = {}
    for number, line in enumerate(lines, 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        where = f"{path}:{number}"
        if not HASH.fullmatch(words[0]):
            raise KeysError(f"{where}: not a SHA-256 hash in hexadecimal")
        key = bytes.fromhex(words[0])
        if key in NO_KEY:
            raise KeysError(f"{where}: this is the hash of an empty key; was the variable with the key set?")
        if len(words) > 2 or not all(map(NAME.fullmatch, words[1:])):
            raise KeysError(f"{where}: only a name of up to 31 of A-Za-z0-9._- may follow the hash")
        caller = words[1] if len(words) == 2 else hashlib.sha256(key).hexdigest()[:UNNAMED_LENGTH]
        if callers.setdefault(key, caller) != caller:
            raise KeysError(f"{where}: the same hash has another name above")
    if not callers:
        raise KeysError(f"{path} contains no key")
    return callers


def given_key(headers: Headers) -> bytes:
    """The key that a request brings, empty if there is none. A scheme's case does not matter (RFC 9110, 11.1)."""
    if key := headers.get("x-api-key"):
        return key.encode("latin-1")  # the bytes as they were sent
    words = headers.get("authorization", "").split(maxsplit=1)
    return words[1].strip().encode("latin-1") if len(words) == 2 and words[0].lower() == "bearer" else b""


class Keys:
    """The keys that requests are checked against. Without a file, every request passes."""

    def __init__(self, path: Path | None) -> None:
        """Raises KeysError if the file is invalid, OSError if it cannot be read."""
        self._path = path
        self._version: tuple[int, int, int] | None = None
        self._callers: dict[bytes, str] = {}
        self._fault: str | None = None
        if path is not None:
            self._version = _version(path)
            self._callers = read_keys(path)

    def check(self, headers: Headers, other: bytes = b"") -> str | None:
        """The name of the request's caller, which reveals no key; None if no key is needed.

        `other` is a key that came elsewhere, for a request whose headers have none. Raises Problem if the key is
        unknown. Compares with every hash, in constant time.
        """
        if self._path is None:
            return None
        self._reload(self._path)
        digest = hashlib.sha256(given_key(headers) or other).digest()
        caller = None
        for stored, name in self._callers.items():
            if hmac.compare_digest(stored, digest):
                caller = name
        if caller is None:
            detail = "A valid API key is needed, as `Authorization: Bearer KEY` or `X-API-Key: KEY`."
            raise Problem(Code.UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})
        return caller

    def _reload(self, path: Path) -> None:
        """Read the file if it has changed. If that fails, the keys read before stay in force; this is logged once."""
        try:
            version = _version(path)
            if version == self._version:
                self._fault = None
                return
            callers = read_keys(path)
        except OSError as error:
            self._complain(str(error))
        except KeysError as error:
            self._version = version  # an invalid file is read again only when it changes
            self._complain(str(error))
        else:
            self._version, self._callers, self._fault = version, callers, None

    def _complain(self, fault: str) -> None:
        if fault != self._fault:
            log.error("the keys read before stay in force: %s", fault)
        self._fault = fault


def _version(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size
