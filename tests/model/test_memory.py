"""Freed memory stays: the second batch takes no new page from the kernel."""

from __future__ import annotations

import subprocess
import sys

import pytest

FAULTS = """
import resource, numpy as np
from model.memory import keep_freed_memory
if not keep_freed_memory():
    raise SystemExit("glibc expected")
def batch():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 24, np.float32)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
batch()
print(batch())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's option")
def test_a_block_of_the_size_just_freed_costs_no_page_fault() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100
