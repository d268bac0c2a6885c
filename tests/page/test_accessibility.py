"""What axe-core finds (nothing), and the keyboard alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.page.conftest import Open

AXE = Path(__file__).parents[2] / ".venv" / "tools" / "node_modules" / "axe-core" / "axe.min.js"
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}


def violations(page: Page) -> list[str]:
    """Rule and element of each violation."""
    if not AXE.exists():
        pytest.skip("there is no axe-core: tests/tools.sh brings it where there is npm")
    page.evaluate(AXE.read_text())  # as a debugger would: the page's policy allows no other script
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(({violations}) => violations)")
    return [f"{rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(open_page: Open, scheme: str, size: dict[str, int]) -> None:
    page = open_page(color_scheme=scheme, viewport=size, reduced_motion="reduce")
    assert violations(page) == []
    page.get_by_role("button", name="Drums", exact=True).click()
    expect(page.locator(".recording .verdict-label")).to_have_text("drums")
    page.locator(".events summary").click()
    page.get_by_role("button", name="crow", exact=True).and_(page.locator(".chip-name")).click()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_keyboard_alone_reaches_an_answer(page: Page) -> None:
    pressed = []
    for _ in range(12):
        page.keyboard.press("Tab")
        pressed.append(page.evaluate("document.activeElement.textContent.trim()"))
        if pressed[-1] == "Drums":
            break
    assert pressed[0] == "Skip to the answers"
    page.keyboard.press("Enter")
    expect(page.locator(".recording .verdict-label")).to_have_text("drums")
    expect(page.get_by_role("status").filter(has_text="drums.flac: drums")).to_be_attached()
