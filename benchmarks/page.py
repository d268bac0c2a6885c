"""The page in a browser: `python -m benchmarks.page` (Chromium and the extra `bench` are needed).

It prints the time from a typed letter to changed bars on screen, for recordings of several lengths; the first paint;
the requests to other origins; and the size of each file as browsers get it.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import soundfile
from playwright.sync_api import Browser, Page, Request, sync_playwright
from rich.console import Console
from rich.table import Table

from benchmarks.load import Target
from benchmarks.measurement import percentiles
from benchmarks.systems import free_port, started

EXAMPLES = Path(__file__).parents[1] / "examples"
LENGTHS_S = (0.5, 5, 30, 120, 600)
WORDS = ("thunder", "helicopter", "sea waves", "church bells", "vacuum cleaner")
LETTER_MS = 150
"""Time between two letters, as fast typists type."""
PATIENCE_MS = 120_000
WATCH = """() => {
  window.waits = [];
  const waiting = [];
  document.querySelector("#label-input").addEventListener("input", (event) => {
    if (event.target.value.trim()) waiting.push([event.target.value.trim(), event.timeStamp]);
  }, true);
  new MutationObserver(() => {
    const shown = new Set([...document.querySelectorAll(".rows > li")].map((row) => row.dataset.label));
    const newest = waiting.findLastIndex(([label]) => shown.has(label));
    const answered = waiting.splice(0, newest + 1);
    // The frame after next is on screen.
    requestAnimationFrame(() => requestAnimationFrame((now) => {
      for (const [, since] of answered) waits.push(now - since);
    }));
  }).observe(document.querySelector("#recordings"), { childList: true, subtree: true });
}"""
"""Keeps the time from each input event to the frame that shows a row for its text, or for that of a later one."""


def recording(seconds: float, folder: Path) -> Path:
    """The drum loop, repeated, as FLAC."""
    samples, rate = soundfile.read(EXAMPLES / "drums.flac", dtype="float32", always_2d=True)
    path = folder / f"{seconds:g}.flac"
    soundfile.write(path, np.resize(samples[:, :1], (round(seconds * rate), 1)), rate)
    return path


def typed(page: Page, file: Path) -> list[float]:
    """Milliseconds from each typed letter to changed bars, with the recording in the service's cache."""
    page.locator("#files").set_input_files(file)
    page.locator(".recording[data-settled=true]").wait_for(timeout=PATIENCE_MS)
    page.evaluate(WATCH)
    field = page.get_by_label("Add labels")
    for word in WORDS:
        field.press_sequentially(word, delay=LETTER_MS)
        page.locator(f".rows > li[data-label='{word}']").wait_for(timeout=PATIENCE_MS)
        field.fill("")
        page.locator(f".rows > li[data-label='{word}']").wait_for(state="detached", timeout=PATIENCE_MS)
    waits: list[float] = page.evaluate("waits")
    return waits


def keep_url(urls: list[str], request: Request) -> None:
    urls.append(request.url)


def visit(browser: Browser, address: str, folder: Path, console: Console) -> None:
    """Print what one visitor of the page measures."""
    table = Table("recording, s", "bytes", "letters", "p50 ms", "p95 ms", title="letter typed → bars changed")
    elsewhere = []
    paint_ms = transferred = 0.0
    for seconds in LENGTHS_S:
        context = browser.new_context()
        page = context.new_page()
        urls: list[str] = []
        page.on("request", partial(keep_url, urls))
        page.goto(address)
        paint_ms = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        transferred = page.evaluate(
            "performance.getEntries().reduce((sum, entry) => sum + (entry.encodedBodySize || 0), 0)"
        )
        file = recording(seconds, folder)
        waits = typed(page, file)
        p50, p95 = percentiles(waits, 50, 95)
        table.add_row(f"{seconds:g}", str(file.stat().st_size), str(len(waits)), f"{p50:.0f}", f"{p95:.0f}")
        own = urlsplit(address).netloc
        elsewhere += [url for url in urls if urlsplit(url).scheme.startswith("http") and urlsplit(url).netloc != own]
        context.close()
    console.print(table)
    console.print(f"first contentful paint {paint_ms:.0f} ms; {transferred / 1e3:.1f} kB loaded; ", end="")
    console.print(f"{len(elsewhere)} requests elsewhere")


def sizes(console: Console) -> None:
    """Print the compressed size of each file of the page."""
    folder = Path(__file__).parents[1] / "service" / "api" / "page"
    table = Table("file", "bytes", "gzipped", title="size")
    total = 0
    for path in sorted(path for pattern in ("*.*", "wavesurfer/*.js") for path in folder.glob(pattern)):
        size = len(gzip.compress(path.read_bytes(), mtime=0))
        total += size
        table.add_row(path.relative_to(folder).as_posix(), str(path.stat().st_size), str(size))
    table.add_row("all", "", str(total))
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.page", description=(__doc__ or "").splitlines()[0])
    parser.parse_args(arguments)
    console = Console()
    if (chromium := shutil.which("chromium")) is None:
        console.print("there is no chromium on PATH")
        return 1
    port = free_port()
    command = [sys.executable, "-m", "anysound", "serve", "--port", str(port)]
    with (
        tempfile.TemporaryDirectory() as folder,
        started("anysound", command, "/readyz", Target("127.0.0.1", port, "/"), Path(folder) / "log"),
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, chromium_sandbox=False)
        visit(browser, f"http://127.0.0.1:{port}/", Path(folder), console)
        browser.close()
    sizes(console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
