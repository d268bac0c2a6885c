"""CPU time of processes that come and go."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.measurement import CpuTime, tree

BUSY = "import time\nwhile time.process_time() < 0.8: pass"


def test_the_time_of_a_process_that_came_and_ended_counts() -> None:
    with CpuTime(lambda: {"child": tree(os.getpid())[1:], "none": []}) as cpu:
        subprocess.run([sys.executable, "-c", BUSY], check=True)
    assert 0.3 < cpu.used()["child"] < 2
    assert cpu.used()["none"] == 0


def test_what_was_used_before_does_not_count() -> None:
    child = subprocess.Popen([sys.executable, "-c", f"{BUSY}\nprint('done', flush=True)\ninput()"], stdin=-1, stdout=-1)
    assert child.stdout is not None
    child.stdout.readline()
    with CpuTime(lambda: {"child": [child.pid]}) as cpu:
        child.communicate(b"\n")
    assert cpu.used()["child"] < 0.3
