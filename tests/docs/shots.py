"""Write a picture of every page of the built site at two widths into build/shots: `make docs-shots`.

Names the pages that are wider than the window.
"""

from __future__ import annotations

from tests.conftest import ROOT
from tests.docs.browsing import opened

SITE = ROOT / "build" / "site"
SHOTS = ROOT / "build" / "shots"
WIDTHS = (1280, 390)


def main() -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    for width in WIDTHS:
        with opened(width) as page:
            for path in sorted(SITE.rglob("*.html")):
                name = path.relative_to(SITE).with_suffix("").as_posix()
                page.goto(path.as_uri())
                page.screenshot(path=SHOTS / f"{name.replace('/', '-')}-{width}.png", full_page=True)
                if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
                    print(f"{name}: {wide} pixels wide in a window of {width}")  # noqa: T201


if __name__ == "__main__":
    main()
