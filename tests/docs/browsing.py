"""A browser for the built site."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, sync_playwright

from tests.page.browser import chromium

MOST_MS = 30_000
"""Time that a page may take on a loaded machine."""


@contextmanager
def opened(width: int = 1280, height: int = 900) -> Iterator[Page]:
    """A page of a browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), chromium_sandbox=False)
        try:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(MOST_MS)
            yield page
        finally:
            browser.close()
