from __future__ import annotations

import sys

import pytest

from tests.anysound.command import run


def test_bench_says_in_one_line_that_the_image_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "benchmarks", None)
    result = run("bench", "--quick")
    assert result.exit_code == 2
    assert result.stderr.startswith("anysound bench runs in a checkout")
    assert len(result.stderr.splitlines()) == 1
