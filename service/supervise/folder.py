"""The private directory of a running service: sockets, counters, and the temporary files of its processes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

log = logging.getLogger("anysound.supervisor")

NAME = "anysound-serve-"
VARIABLES = ("TMPDIR", "TEMP", "TMP")
FALLBACKS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - a directory of random name and mode 0700 is made there
SOCKET_PATH_BYTES = 107
"""Longest path of a Unix socket that the kernel accepts."""
LONGEST_NAME = f"/{NAME}12345678/api-12/pymp-12345678/listener-12345678"
"""Room that is kept for sockets below a base. The workers' are shorter; this is enough for those that a library makes
in the TMPDIR of a child, such as multiprocessing's."""


class NoFolder(OSError):
    """There is no usable directory for temporary files; the message names those tried, with reasons."""


def base() -> Path:
    """A directory for temporary files in which sockets can be created too. Raises NoFolder."""
    reasons: list[str] = []
    named = [os.environ[name] for name in VARIABLES if os.environ.get(name)]
    for place in (*named, *FALLBACKS):
        if (reason := _unusable(place)) is None:
            if named and place in FALLBACKS and place not in named:
                log.warning("%s: using %s for temporary files", "; ".join(reasons), place)
            return Path(place)
        reasons.append(f"{place}: {reason}")
    raise NoFolder(f"there is no directory for temporary files ({'; '.join(reasons)}): set TMPDIR")


def _unusable(place: str) -> str | None:
    """Why `place` cannot hold a private directory; None if it can."""
    if len(os.fsencode(place + LONGEST_NAME)) > SOCKET_PATH_BYTES:
        return f"the path is longer than {SOCKET_PATH_BYTES - len(LONGEST_NAME)} bytes, too long for sockets"
    try:
        probe = tempfile.mkdtemp(prefix="anysound-probe-", dir=place)
        Path(probe).rmdir()
    except OSError as error:
        return os.strerror(error.errno or errno.EIO)
    return None


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A directory that only this user can enter, removed afterwards. Raises NoFolder.

    Directories left behind by killed services are removed first. A directory in use is locked by its service.
    """
    place = base()
    sweep(place)
    folder, lock = _locked(place)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _locked(place: Path) -> tuple[Path, int]:
    """A new directory, and the descriptor that holds its lock until this process ends."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=NAME, dir=place))
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(lock), folder.stat()):
                return folder, lock
        os.close(lock)  # another service removed it before it was locked


def sweep(place: Path) -> None:
    """Remove this user's directories in `place` whose service is gone."""
    for folder in place.glob(f"{NAME}*"):
        with contextlib.suppress(OSError):  # it belongs to another user or is in use
            if folder.lstat().st_uid != os.geteuid() or not stat.S_ISDIR(folder.lstat().st_mode):
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                log.info("removed %s, left behind by a killed service", folder)
            finally:
                os.close(lock)
