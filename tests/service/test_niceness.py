"""Processes that compute give way to those that answer."""

from __future__ import annotations

import os
import subprocess
import sys

from service.niceness import NICE

PRIORITY = "import os; from service.niceness import yield_to_others; yield_to_others(); print(os.nice(0))"


def test_a_process_that_computes_goes_after_those_that_answer() -> None:
    done = subprocess.run([sys.executable, "-c", PRIORITY], capture_output=True, text=True, check=True)
    assert int(done.stdout) == os.nice(0) + NICE
