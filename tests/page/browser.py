"""A Chromium that hears a recording in place of a microphone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

OTHER_HOST = "sounds.example"
"""A name of this machine that browsers take for another one's."""


def chromium() -> str | None:
    """Path of the browser, None if there is none. Playwright's own build has no microphone."""
    return shutil.which("chromium")


@contextmanager
def running_browser(microphone: Path) -> Iterator[Browser]:
    """`microphone` is a WAV of 16-bit PCM, which Chromium repeats; of another format it plays silence."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(),
            chromium_sandbox=False,
            args=[
                "--use-fake-device-for-media-stream",
                f"--use-file-for-fake-audio-capture={microphone}",
                f"--host-resolver-rules=MAP {OTHER_HOST} 127.0.0.1",
            ],
        )
        try:
            yield browser
        finally:
            browser.close()
