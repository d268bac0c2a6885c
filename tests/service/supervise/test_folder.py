"""The private directory: where it is made, and what becomes of it when its service is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.supervise import folder
from service.supervise.folder import LONGEST_NAME, NAME, SOCKET_PATH_BYTES, NoFolder, private_folder, sweep
from tests.conftest import ROOT

HOLDS = """
import time
from service.supervise.folder import private_folder
with private_folder() as folder:
    (folder / "file").write_text("text")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty temporary directory with a short path."""
    base = Path(f"/tmp/anysound-test-{os.getpid()}")  # noqa: S108
    base.mkdir()
    monkeypatch.setenv("TMPDIR", str(base))
    yield base
    subprocess.run(["rm", "-rf", str(base)], check=True)


def holder() -> tuple[subprocess.Popen[str], Path]:
    """A process with a private directory."""
    process = subprocess.Popen([sys.executable, "-c", HOLDS], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_only_the_user_can_enter_it_and_it_goes_with_its_service(place: Path) -> None:
    with private_folder() as made:
        assert made.parent == place
        assert made.stat().st_mode & 0o777 == 0o700
        (made / "inside").mkdir()
    assert list(place.iterdir()) == []


def test_what_a_killed_service_left_is_removed_at_the_next_start(place: Path) -> None:
    process, left = holder()
    with process:
        os.kill(process.pid, signal.SIGKILL)
    assert (left / "file").exists()
    with private_folder() as made:
        assert list(place.iterdir()) == [made]


def test_the_directory_of_a_living_service_is_left_alone(place: Path) -> None:
    process, used = holder()
    with process:
        with private_folder() as made:
            assert set(place.iterdir()) == {used, made}
            assert (used / "file").read_text() == "text"
        process.kill()


def test_nothing_else_is_removed(place: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    (place / f"{NAME}link").symlink_to(precious)
    (place / f"{NAME}file").touch()
    (place / "anysound-other").mkdir()
    sweep(place)
    assert {path.name for path in place.iterdir()} == {f"{NAME}link", f"{NAME}file", "anysound-other"}
    assert (precious / "file").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can own a directory for somebody else")
def test_another_users_directory_is_left_alone(place: Path) -> None:
    other = place / f"{NAME}other"
    other.mkdir()
    os.chown(other, 12_345, 12_345)
    sweep(place)
    assert other.exists()


def test_a_path_too_long_for_sockets_is_not_used(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    most = SOCKET_PATH_BYTES - len(LONGEST_NAME)
    long = place / ("d" * (most - len(str(place))))
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    assert len(str(long)) == most + 1
    with private_folder() as made:
        assert made.parent == Path("/tmp")  # noqa: S108
    assert "too long for sockets: using /tmp for temporary files" in caplog.text


def test_a_directory_that_is_not_there_is_not_used(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(place / "none"))
    monkeypatch.setenv("TEMP", str(place))
    with private_folder() as made:
        assert made.parent == place


def test_without_any_directory_the_error_names_all(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(place / "none"))
    monkeypatch.setattr(folder, "FALLBACKS", (f"{place}/nor",))
    with pytest.raises(NoFolder) as raised, private_folder():
        pass
    missing = "No such file or directory"
    assert str(raised.value) == (
        f"there is no directory for temporary files ({place}/none: {missing}; {place}/nor: {missing}): set TMPDIR"
    )
