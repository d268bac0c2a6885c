"""The code blocks and the inline code of the documentation's pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

PAGES = sorted(
    {ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "client" / "README.md", *ROOT.glob("docs/**/*.md")}
)
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[\w+-]*)(?P<options>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.S | re.M
)
INLINE = re.compile(r"`([^`\n]+)`")
OUTPUT = "Output"
"""Title of a block that shows what the commands before it print."""


@dataclass(frozen=True)
class Block:
    """A fenced block. `title` is shown above it on the site."""

    language: str
    title: str
    text: str


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = []
    for match in FENCE.finditer(page.read_text()):
        title = re.search(r'title="([^"]*)"', match["options"])
        text = re.sub(f"^{match['indent']}", "", match["text"], flags=re.M)
        found.append(Block(match["language"], title[1] if title else "", text))
    return found


def inline(page: Path) -> list[str]:
    """The inline code of a page, outside its blocks."""
    return INLINE.findall(FENCE.sub("", page.read_text()))
