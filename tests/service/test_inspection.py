"""Processes of the service are closed to others of the same user."""

from __future__ import annotations

import subprocess

import pytest

from tests.conftest import ROOT
from tests.service.unprivileged import python

SCRIPT = """
import ctypes, os, subprocess, sys
from service.inspection import forbid_inspection

if sys.argv[1] == "closed":
    forbid_inspection()
ATTACK = '''
import ctypes, os, sys
target = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def memory():
    os.close(os.open(f"/proc/{target}/mem", os.O_RDWR))
def descriptors():
    os.listdir(f"/proc/{target}/fd")
def take_a_descriptor():
    if libc.syscall(438, os.pidfd_open(target), 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "refused")
for attack in (memory, descriptors, take_a_descriptor):
    try:
        attack()
        print(attack.__name__)
    except PermissionError:
        pass
'''
subprocess.run([sys.executable, "-c", ATTACK, str(os.getpid())], check=True)
"""


def attack(target: str) -> set[str]:
    """Attacks of a process on its parent, which runs as the same user."""
    command = [*python(), "-c", SCRIPT, target]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return set(done.stdout.split())


def test_neither_memory_nor_descriptors_can_be_taken() -> None:
    if attack("open") != {"memory", "descriptors", "take_a_descriptor"}:
        pytest.skip("this kernel lets no process into another of the same user (ptrace_scope)")
    assert attack("closed") == set()
