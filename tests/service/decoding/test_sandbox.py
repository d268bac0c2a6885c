"""A clip that has taken over its decoder cannot reach anything outside."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence

import pytest

from service.decoding import landlock
from tests.conftest import ROOT
from tests.service.unprivileged import python


def breakout(interpreter: Sequence[str], *flags: str) -> dict[str, str]:
    """The result of each attack."""
    command = [*interpreter, "-m", "tests.service.decoding.breakout", *flags]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    outcomes: dict[str, str] = json.loads(done.stdout)
    return outcomes


def test_every_way_out_is_closed() -> None:
    outcomes = breakout([sys.executable])
    assert len(outcomes) > 30
    assert {attack: outcome for attack, outcome in outcomes.items() if outcome != "refused EPERM"} == {}


def test_every_way_out_is_closed_to_an_ordinary_user_without_namespaces() -> None:
    outcomes = breakout(python(), "--without", "unshare")
    assert len(outcomes) > 30
    assert {attack: outcome for attack, outcome in outcomes.items() if outcome != "refused EPERM"} == {}


def test_what_cannot_be_confined_is_not_started() -> None:
    command = [sys.executable, "-m", "tests.service.decoding.breakout", "--without", "seccomp"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "no seccomp filter" in done.stderr
    assert "ANYSOUND_DECODE_SANDBOX=best-effort" in done.stderr


def test_what_is_left_of_the_sandbox_without_seccomp() -> None:
    """Landlock and a process that others of its user cannot inspect."""
    if landlock.version() < 6:
        pytest.skip("this kernel's Landlock does not cover signals and abstract sockets (Linux 6.12)")
    outcomes = breakout(python(), "--without", "seccomp", "--sandbox", "best-effort")
    closed = {
        *("read_a_file", "write_a_file", "list_a_folder", "connect", "connect_to_an_abstract_name", "start_a_program"),
        *("fork", "kill_its_parent", "kill: api", "read_the_memory_of: api", "read_the_memory_of: fork server"),
    }
    assert {attack for attack in closed if not outcomes[attack].startswith("refused")} == set()


def test_an_api_process_without_a_sandbox_says_so_in_a_line() -> None:
    script = (
        "import errno, sys\n"
        "from service.decoding import seccomp\n"
        "from tests.service.decoding.breakout import PRCTL, forbid\n"
        "from service.api.server import main\n"
        "forbid(PRCTL, seccomp.PR_SET_SECCOMP, errno.EINVAL)\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = str(listener.fileno())
        command = [sys.executable, "-c", script, "--listener", number, "ipc:///nowhere"]
        done = subprocess.run(
            command, cwd=ROOT, pass_fds=[listener.fileno()], stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == os.EX_CONFIG
    assert len(done.stderr.splitlines()) == 1
    assert "ANYSOUND_DECODE_SANDBOX=best-effort" in done.stderr
