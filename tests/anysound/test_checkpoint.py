from __future__ import annotations

from pathlib import Path

from tests.anysound.command import run


def test_checkpoint_info_says_what_it_is(tiny_folder: Path) -> None:
    text = run("checkpoint", "info", tiny_folder).stdout
    assert "tiny" in text
    assert "8000 Hz" in text
    assert "mobilenet" in text
