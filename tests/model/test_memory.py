"""Freed memory stays: the second batch takes no new page from the kernel."""

from __future__ import annotations

import subprocess
import sys

import pytest

BATCHES = """
import resource
from model.memory import keep_freed_memory
if not keep_freed_memory({spare}):
    raise SystemExit("glibc expected")
def batch():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * (40 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
batch()
print(batch())
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc's options")


def faults_of_the_second_batch(spare: int | None) -> int:
    command = [sys.executable, "-c", BATCHES.format(spare=spare)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_a_block_of_the_size_just_freed_costs_no_page_fault() -> None:
    assert faults_of_the_second_batch(None) < 100


def test_a_process_with_a_bound_gives_large_blocks_back() -> None:
    assert faults_of_the_second_batch(1 << 20) > 1_000
