"""Write the pictures of the page in docs/images: `python -m tests.page.screenshots` (`make screenshots`)."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.conftest import listening, until_ready
from tests.page.browser import running_browser
from tests.page.sounds import example, write

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
DESK, PHONE = (1280, 860), (390, 844)
HEARD = ("crow.flac", "choir.flac", "drums.flac", "speech.wav")
LIVE_S = 24
FRAME_S = 0.5
LIVE_WIDTH = 800
PATIENCE_MS = 60_000


def opened(browser: Browser, address: str, size: tuple[int, int], scheme: str) -> Page:
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if scheme == "dark" else "light",
        permissions=["microphone"],
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(address)
    page.locator("#model").wait_for()
    return page


def keep(name: str, png: bytes) -> None:
    """Write a picture with 256 colours: a third of the size."""
    Image.open(io.BytesIO(png)).convert("RGB").quantize(256).save(IMAGES / f"{name}.png", optimize=True)


def still(browser: Browser, address: str, recording: Path) -> None:
    """The first screen, and an answer, in each scheme and size."""
    for scheme, size, suffix in (("light", DESK, ""), ("dark", DESK, "-dark"), ("light", PHONE, "-phone")):
        page = opened(browser, address, size, scheme)
        keep(f"page-first{suffix}", page.screenshot())
        page.locator("#files").set_input_files(recording)
        expect(page.locator(".recording")).to_have_attribute("data-settled", "true", timeout=PATIENCE_MS)
        expect(page.locator(".recording")).to_have_attribute("data-windows", re.compile(r"\d\d"))
        page.mouse.move(0, 0)
        page.locator(".recording").scroll_into_view_if_needed()
        keep(f"page-answer{suffix}", page.screenshot())
        page.context.close()


def live(browser: Browser, address: str) -> None:
    """Listening, as an animation."""
    page = opened(browser, address, DESK, "light")
    page.get_by_role("button", name="Listen live").click()
    card = page.locator(".live")
    expect(card.locator(".rows > li").first).to_be_visible(timeout=PATIENCE_MS)
    frames: list[Image.Image] = []
    begin = time.monotonic()
    while (due := begin + len(frames) * FRAME_S) < begin + LIVE_S:
        page.wait_for_timeout(max(0, due - time.monotonic()) * 1000)
        frame = Image.open(io.BytesIO(card.screenshot())).convert("RGB")
        frames.append(
            frame.resize((LIVE_WIDTH, round(frame.height * LIVE_WIDTH / frame.width)), Image.Resampling.LANCZOS)
        )
    frames = [frame.resize(frames[-1].size) for frame in frames]
    frames[0].save(
        IMAGES / "page-live.webp",
        save_all=True,
        append_images=frames[1:],
        duration=round(FRAME_S * 1000),
        loop=0,
        quality=60,
        method=6,
    )
    page.context.close()


def bulk_report(browser: Browser, folder: Path) -> None:
    """The page of `anysound bulk report`, as the first tutorial makes it."""
    (folder / "labels.txt").write_text("crow\ndrums\nchoir\na person speaking\nburp\n")
    for arguments in (
        ("examples", "--labels", folder / "labels.txt", "--out", folder / "scores"),
        ("report", folder / "scores"),
    ):
        subprocess.run([sys.executable, "-m", "anysound", "bulk", *map(str, arguments)], cwd=ROOT, check=True)
    page = browser.new_page(viewport={"width": DESK[0], "height": DESK[1]})
    page.goto((folder / "scores" / "report.html").as_uri())
    keep("bulk-report", page.screenshot())
    page.close()


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recording = write(folder / "garden.wav", *(example(each, 6) for each in HEARD[:3]))
        microphone = write(folder / "microphone.wav", *(example(each, 6) for each in HEARD))
        log = folder / "log"
        command = [sys.executable, "-m", "anysound", "serve", "--port", "0"]
        with log.open("wb") as errors, subprocess.Popen(command, cwd=ROOT, stderr=errors) as server:
            try:
                address = listening(log)
                until_ready(address)
                with running_browser(microphone) as browser:
                    still(browser, f"{address}/", recording)
                    bulk_report(browser, folder)
                # The microphone's recording begins with the browser.
                with running_browser(microphone) as browser:
                    live(browser, f"{address}/")
            finally:
                server.terminate()


if __name__ == "__main__":
    main()
