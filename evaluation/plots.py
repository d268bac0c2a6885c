"""The report's plots as inline SVG. Each function returns one `<svg>`, coloured by the page's CSS variables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from evaluation.calibration import Reliability
from evaluation.few_shot import FewShot, Spread
from evaluation.metrics import Confusion

MAX_BARS = 40
MAX_CELLS = 60


def svg(width: float, height: float, label: str, *parts: str) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def rect(x: float, y: float, width: float, height: float, style: str, title: str = "") -> str:
    tip = f"<title>{escape(title)}</title>" if title else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" {style}>{tip}</rect>'


def text(x: float, y: float, words: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def ladder(value: float, marks: Mapping[str, float]) -> str:
    """A bar from 0 to 1, with a mark for each figure to compare with: chance, the paper's, the best."""
    width, height, edge = 220.0, 22.0, 6.0
    parts = [
        rect(edge, 7, width, 8, 'class="track" rx="4"'),
        rect(edge, 7, max(width * value, 1), 8, 'class="bar" rx="4"', f"{value:.3f}"),
    ]
    for name, at in marks.items():
        tip = f"<title>{escape(name)}: {at:.3f}</title>"
        x = edge + width * at
        if name == "chance":
            parts.append(f'<g class="mark chance">{line(x, 3, x, 19, "")}{tip}</g>')
        elif name == "paper":
            parts.append(f'<path class="mark paper" d="M{x:.1f} 9 l5 -6 h-10 z">{tip}</path>')
        else:
            parts.append(f'<circle class="mark best" cx="{x:.1f}" cy="11" r="4">{tip}</circle>')
    said = ", ".join(f"{name} {at:.3f}" for name, at in marks.items())
    return svg(width + 2 * edge, height, f"{value:.3f}; {said}", *parts)


def bars(values: Mapping[str, float], chance: float | None, measure: str) -> str:
    """One bar per class, the weakest first; with very many classes only the weakest and the strongest."""
    order = sorted(values.items(), key=lambda item: item[1])
    if len(order) > MAX_BARS:
        order = [*order[: MAX_BARS // 2], *order[-MAX_BARS // 2 :]]
    left, width, step = room((name for name, _ in order), 34) + 12, 240.0, 17.0
    height = step * len(order) + 4
    parts = []
    for row, (name, value) in enumerate(order):
        y = row * step + 2
        weak = value < (1 + (chance or 0)) / 2  # less than half way from chance to 1
        parts += [
            text(left - 8, y + 12, shortened(name, 34), 'class="name" text-anchor="end"'),
            rect(left, y + 3, width, 10, 'class="track" rx="2"'),
            rect(left, y + 3, max(width * value, 1), 10, f'class="{"bar weak" if weak else "bar"}" rx="2"'),
            text(left + width + 8, y + 12, f"{value:.2f}", 'class="number"'),
        ]
    if chance is not None:
        parts.append(line(left + width * chance, 0, left + width * chance, height, 'class="chanceline"'))
    return svg(left + width + 46, height, f"{measure} of each class", *parts)


def shortened(name: str, longest: int) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"


def room(names: Iterable[str], longest: int) -> float:
    """An upper bound of the width of `names` in pixels, at 12 px in any sans-serif font."""
    return max(sum(12.0 if letter in "mwMW@" else 7.0 for letter in shortened(name, longest)) for name in names)


def confusion(counts: Confusion, classes: Sequence[str]) -> str:
    """Shares of each true class (rows) by predicted class (columns); empty for very many classes."""
    if len(classes) > MAX_CELLS:
        return ""
    cell = 34.0 if len(classes) <= 12 else 20.0 if len(classes) <= 24 else 13.0
    names = room(classes, 24)
    left, top = names + 12, 6.0
    side = cell * len(classes)
    bottom = names * 0.71 + 18  # the names are rotated by 45 degrees
    parts = []
    for row, name in enumerate(classes):
        total = int(counts[row].sum())
        parts.append(
            text(left - 6, top + cell * (row + 0.5) + 4, shortened(name, 24), 'class="name" text-anchor="end"')
        )
        for column, other in enumerate(classes):
            count = int(counts[row, column])
            share = count / total if total else 0.0
            kind = "cell right" if row == column else "cell wrong"
            x, y = left + cell * column, top + cell * row
            shade = f'class="{kind}" fill-opacity="{share**0.7:.3f}"'
            tip = f"{name} taken for {other}: {count} of {total}"
            parts += [rect(x, y, cell, cell, 'class="grid"'), rect(x, y, cell, cell, shade, tip)]
            if cell > 30 and count:
                dark = " on" if share > 0.45 else ""
                parts.append(
                    text(x + cell / 2, y + cell / 2 + 4, str(count), f'class="count{dark}" text-anchor="middle"')
                )
    for column, other in enumerate(classes):
        x, y = left + cell * (column + 0.5) + 3, top + side + 12
        turn = f'class="name" text-anchor="end" transform="rotate(-45 {x:.1f} {y:.1f})"'
        parts.append(text(x, y, shortened(other, 24), turn))
    return svg(left + side + 14, top + side + bottom, "confusion matrix: true classes in rows", *parts)


def reliability(one: Reliability, title: str) -> str:
    """Share of right answers against score: one dot per bin, its area by the count. The line is perfect."""
    side, left, top = 200.0, 40.0, 26.0
    most = max(one.counts)

    def x(value: float) -> float:
        return left + side * value

    def y(value: float) -> float:
        return top + side * (1 - value)

    parts = [
        text(left, 14, f"{title}: error {one.error:.3f}", 'class="title"'),
        rect(left, top, side, side, 'class="frame"'),
        line(x(0), y(0), x(1), y(1), 'class="diagonal"'),
    ]
    points = list(zip(one.scores, one.right, one.counts, strict=True))
    path = " ".join(f"{x(score):.1f},{y(right):.1f}" for score, right, _ in points)
    parts.append(f'<polyline class="curve" points="{path}"/>')
    for score, right, count in points:
        tip = f"<title>{count:,} scores of {score:.2f} on average, {right:.2f} right</title>"
        radius = 2.5 + 5.5 * (count / most) ** 0.5
        parts.append(f'<circle class="dot" cx="{x(score):.1f}" cy="{y(right):.1f}" r="{radius:.1f}">{tip}</circle>')
    for tick in (0.0, 0.5, 1.0):
        parts += [
            text(x(tick), top + side + 15, f"{tick:g}", 'class="number" text-anchor="middle"'),
            text(left - 6, y(tick) + 4, f"{tick:g}", 'class="number" text-anchor="end"'),
        ]
    parts.append(text(left + side / 2, top + side + 32, "score", 'class="name" text-anchor="middle"'))
    turn = f'class="name" text-anchor="middle" transform="rotate(-90 12 {top + side / 2:.1f})"'
    parts.append(text(12, top + side / 2, "share right", turn))
    return svg(left + side + 16, top + side + 40, f"reliability of {title} scores", *parts)


def curve(shots: Sequence[FewShot], metric: str) -> str:
    """A figure against the number of examples, for all classes and for half: mean, deviation, and zero-shot's line."""
    side, left, top = 220.0, 46.0, 26.0
    zero = Spread(shots[0].draws[0].figure, 0.0, shots[0].draws[0].figure)
    whole = [one.spread("figure") or zero for one in shots]
    half = [one.spread("half") or zero for one in shots]
    curves = {"all classes": whole}
    if any(one.spread("half") for one in shots):
        curves["half of the classes"] = half
    low = max(0.0, int(20 * min(one.mean - one.deviation for each in curves.values() for one in each)) / 20)

    def x(place: int) -> float:
        return left + side * place / max(len(shots) - 1, 1)

    def y(value: float) -> float:
        return top + side * (1 - min(value, 1.0)) / max(1 - low, 1e-9)

    parts = [
        text(left, 14, f"{metric} by number of examples", 'class="title"'),
        rect(left, top, side, side, 'class="frame"'),
        line(left, y(zero.mean), left + side, y(zero.mean), 'class="chanceline"'),
    ]
    for title, spreads in curves.items():
        dash = ' stroke-dasharray="4 3"' if title != "all classes" else ""
        path = " ".join(f"{x(place):.1f},{y(one.mean):.1f}" for place, one in enumerate(spreads))
        parts.append(f'<polyline class="curve" points="{path}"{dash}/>')
        for place, one in enumerate(spreads):
            tip = f"<title>{title}, {shots[place].count} examples: {one.mean:.3f} ± {one.deviation:.3f}</title>"
            ends = (y(one.mean - one.deviation), y(one.mean + one.deviation))
            parts.append(line(x(place), ends[0], x(place), ends[1], 'class="curve"'))
            parts.append(f'<circle class="dot" cx="{x(place):.1f}" cy="{y(one.mean):.1f}" r="4">{tip}</circle>')
    parts += [
        text(x(place), top + side + 15, str(one.count), 'class="number" text-anchor="middle"')
        for place, one in enumerate(shots)
    ]
    parts += [
        text(left - 6, y(tick) + 4, f"{tick:.3g}", 'class="number" text-anchor="end"')
        for tick in (low, (1 + low) / 2, 1.0)
    ]
    words = "examples of each class (dashed: of half of the classes)"
    parts.append(text(left + side / 2, top + side + 32, words, 'class="name" text-anchor="middle"'))
    return svg(left + side + 40, top + side + 40, f"{metric} by number of examples", *parts)
