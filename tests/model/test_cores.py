"""The number of cores under a cgroup's quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from model.cores import MOST, VARIABLE, cores


@pytest.fixture(autouse=True)
def node(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of 64 cores."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.delenv(VARIABLE, raising=False)


def cgroup(folder: Path, path: str, files: dict[str, str], line: str = "0::/") -> tuple[Path, Path]:
    """A cgroup file system with files at a path, and a process' line in /proc/self/cgroup."""
    place = folder / "cgroup" / path
    place.mkdir(parents=True)
    for name, text in files.items():
        (place / name).write_text(text)
    (folder / "proc").write_text(f"12:pids:/other\n{line}\n")
    return folder / "cgroup", folder / "proc"


@pytest.mark.parametrize(
    ("quota", "count"), [("50000 100000", 1), ("100000 100000", 1), ("1000 100000", 1), ("250000 100000", 3)]
)
def test_a_quota_is_rounded_up_to_whole_cores(quota: str, count: int, tmp_path: Path) -> None:
    assert cores(*cgroup(tmp_path, "", {"cpu.max": quota})) == count


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("system.slice/anysound.service", "0::/system.slice/anysound.service"),
        ("system.slice", "0::/system.slice/anysound.service"),  # the quota of an ancestor
        ("docker/abc", "0::/docker/abc"),
        ("", "0::/docker/abc"),  # the host's path, with the container's own cgroup mounted
        ("", "0::/../../kubepods/pod1/abc"),
    ],
)
def test_a_quota_is_found_wherever_the_process_is(path: str, line: str, tmp_path: Path) -> None:
    assert cores(*cgroup(tmp_path, path, {"cpu.max": "200000 100000"}, line)) == 2


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize("path", ["", "kubepods/pod1"])
def test_a_quota_of_cgroup_v1_counts_too(mount: str, path: str, tmp_path: Path) -> None:
    files = {"cpu.cfs_quota_us": "300000\n", "cpu.cfs_period_us": "100000\n"}
    assert cores(*cgroup(tmp_path, f"{mount}/{path}", files, "4:cpu,cpuacct:/kubepods/pod1")) == 3


def test_the_smallest_quota_counts(tmp_path: Path) -> None:
    mounted, proc = cgroup(tmp_path, "pod/container", {"cpu.max": "400000 100000"}, "0::/pod/container")
    (mounted / "pod" / "cpu.max").write_text("200000 100000")
    assert cores(mounted, proc) == 2


@pytest.mark.parametrize("quota", ["max 100000", "nonsense"])
def test_without_a_quota_the_affinity_decides(quota: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    assert cores(*cgroup(tmp_path, "", {"cpu.max": quota})) == 6
    assert cores(tmp_path / "none", tmp_path / "none") == 6


def test_a_large_node_is_not_taken_whole(tmp_path: Path) -> None:
    assert cores(tmp_path / "none", tmp_path / "none") == MOST
    assert cores(*cgroup(tmp_path, "", {"cpu.max": "4800000 100000"})) == MOST


def test_the_setting_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "48")
    assert cores(*cgroup(tmp_path, "", {"cpu.max": "200000 100000"})) == 48
