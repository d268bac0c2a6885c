"""`anysound bulk report`: a summary as text and JSON, and a page with players that needs no other file."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bulk.excerpt import excerpt
from bulk.folder import write_whole
from bulk.item import FetchError, Item, Place
from bulk.progress import duration
from bulk.sources import file_item
from bulk.summary import BINS, LabelSummary, Summary, Top, summed_up

PAGE, JSON = "report.html", "report.json"
STYLE = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")


def write_report(folder: Path, top: int, seconds: float) -> tuple[Summary, Path]:
    """Write `report.html` and `report.json` into a run's folder. Players have `seconds` of each item; 0: no players.

    Raises FolderError, OSError.
    """
    summary = summed_up(folder, top)
    text = json.dumps(as_json(summary), ensure_ascii=False, indent=1) + "\n"
    write_whole(folder / JSON, text.encode())
    players = {each: player(each, seconds) for label in summary.labels for each in label.top} if seconds else {}
    write_whole(folder / PAGE, page(summary, players).encode())
    return summary, folder / PAGE


def as_json(summary: Summary) -> dict[str, Any]:
    return {
        "settings": summary.settings,
        "items": summary.items,
        "audio_s": summary.audio_s,
        "errors": {
            reason: {"items": count, "example": dict(zip(("path", "error"), summary.examples[reason], strict=True))}
            for reason, count in summary.errors.most_common()
        },
        "labels": [
            {
                "label": label.name,
                "first": label.first,
                "events": label.events,
                "histogram": label.histogram.tolist(),
                "top": [asdict(each) for each in label.top],
            }
            for label in summary.labels
        ],
    }


def player(top: Top, seconds: float) -> str:
    """An HTML element that plays an item from where its label is heard best, or says why it cannot be played."""
    try:
        sound = excerpt(item_of(top.path), top.start_s, seconds)
    except (FetchError, OSError, ValueError) as error:
        return f'<span class="silent">cannot be played: {html.escape(str(error)[:200])}</span>'
    data = base64.b64encode(sound).decode()
    return f'<audio controls preload="none" src="data:audio/mpeg;base64,{data}"></audio>'


def item_of(path: str) -> Item:
    """The item of a row. Raises OSError if it is not to be found."""
    if path.startswith(("http://", "https://")):
        return Item(path, Place.WEB, path)
    shard, tar, member = path.partition(".tar/")
    if tar:
        from bulk.sources import expand

        return next(item for item in expand([f"{shard}.tar"]) if item.path.endswith(f".tar/{member}"))
    if "://" in path:
        return Item(path, Place.REMOTE, path)
    return file_item(Path(path))


def page(summary: Summary, players: Mapping[Top, str]) -> str:
    settings = summary.settings
    failed = sum(summary.errors.values())
    facts = {
        "items": f"{summary.items:,}",
        "audio": duration(summary.audio_s),
        "errors": f"{failed:,}",
        "model": f"{settings.get('model')} {str(settings.get('fingerprint'))[:12]}",
        "activation": str(settings.get("activation")),
        "template": str(settings.get("template")),
    }
    terms = "".join(f"<div><dt>{name}</dt><dd>{html.escape(value)}</dd></div>" for name, value in facts.items())
    most = max((label.first for label in summary.labels), default=0)
    rows = "".join(_row(label, most, bool(settings.get("events"))) for label in summary.labels)
    heads = "<th>label</th><th>best label of</th>" + ("<th>events</th>" if settings.get("events") else "")
    sections = "".join(_section(label, players) for label in summary.labels if label.top)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; media-src data:">
<title>anysound bulk: {summary.items:,} items</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{summary.items:,} items</h1>
<dl>{terms}</dl>
<h2>Labels</h2>
<div class="wide"><table><thead><tr>{heads}<th>scores, 0 to 1</th></tr></thead><tbody>{rows}</tbody></table></div>
{_errors(summary)}
<h2>Highest scores</h2>
{sections}
</body>
</html>
"""


def _row(label: LabelSummary, most: int, with_events: bool) -> str:
    width = 100 * label.first / max(most, 1)
    events = f'<td class="number">{label.events:,}</td>' if with_events else ""
    bar = f'<span class="bar" style="width:{width:.1f}%"></span>'
    return (
        f"<tr><th>{html.escape(label.name)}</th>"
        f'<td class="share">{bar}<span>{label.first:,}</span></td>{events}'
        f"<td>{_histogram(label.histogram.tolist())}</td></tr>"
    )


def _histogram(counts: Sequence[int]) -> str:
    """Bars on a logarithmic scale: most labels score near 0 for most items."""
    highest = max(max(counts), 1)
    bars = []
    for number, count in enumerate(counts):
        height = 0.0 if count == 0 else 4 + 32 * len(f"{count:b}") / len(f"{highest:b}")
        title = f"<title>{number / BINS:.2f} to {(number + 1) / BINS:.2f}: {count:,}</title>"
        bars.append(f'<rect x="{number * 10}" y="{36 - height:.1f}" width="9" height="{height:.1f}">{title}</rect>')
    return f'<svg viewBox="0 0 {BINS * 10} 36" role="img" aria-label="histogram of scores">{"".join(bars)}</svg>'


def _errors(summary: Summary) -> str:
    if not summary.errors:
        return ""
    rows = ""
    for reason, count in summary.errors.most_common():
        path, detail = map(html.escape, summary.examples[reason])
        rows += f'<tr><th>{html.escape(reason)}</th><td class="number">{count:,}</td>'
        rows += f"<td><code>{path}</code> {detail}</td></tr>"
    head = "<tr><th>reason</th><th>items</th><th>the first</th></tr>"
    return f'<h2>Errors</h2><div class="wide"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'


def _section(label: LabelSummary, players: Mapping[Top, str]) -> str:
    items = "".join(
        f"<li><span class='score'>{each.score:.3f}</span> <code>{html.escape(each.path)}</code>"
        f"{f' from {each.start_s:.1f} s' if each.start_s else ''}{players.get(each, '')}</li>"
        for each in label.top
    )
    return f"<section><h3>{html.escape(label.name)}</h3><ol>{items}</ol></section>"
