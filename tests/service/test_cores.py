"""How many cores there are by the cgroup's quota, and who yields them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.cores import NICE, cores

PRIORITY = "import os; from service.cores import yield_to_others; yield_to_others(); print(os.nice(0))"


@pytest.mark.parametrize(("quota", "count"), [("50000 100000", 1), ("100000 100000", 1), ("1000 100000", 1)])
def test_a_quota_leaves_whole_cores_and_at_least_one(quota: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert cores(tmp_path) == count


@pytest.mark.parametrize("quota", ["max 100000", "nonsense"])
def test_without_a_quota_the_affinity_decides(quota: str, tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert cores(tmp_path) == len(os.sched_getaffinity(0))


def test_a_process_that_computes_goes_after_those_that_answer() -> None:
    done = subprocess.run([sys.executable, "-c", PRIORITY], capture_output=True, text=True, check=True)
    assert int(done.stdout) == os.nice(0) + NICE
