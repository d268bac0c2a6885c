"""The report as one self-contained HTML page, without scripts, external fonts or images."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from evaluation import plots
from evaluation.published import HEAR, PUBLISHED
from evaluation.report import PROMPTS, Report, TaskReport, cited, examples_rows, figure, mistakes, spread
from evaluation.retrieval import CUT_NAMES
from evaluation.zero_shot import THRESHOLD, Result

STYLE = Path(__file__).with_name("page.css")


def page(report: Report) -> str:
    """The whole page."""
    title = f"{report.model}: evaluation"
    body = [
        f"<h1>{escape(report.model)}</h1>",
        f'<p class="soft">fingerprint <code>{report.fingerprint[:16]}</code> · computed in {report.precision}</p>',
        "<h2>At a glance</h2>",
        glance(report),
        "<h2>Where it is weak</h2>",
        weak(report),
    ]
    if report.protocols:
        body += ["<h2>Supervised</h2>", supervised(report)]
    body += ["<h2>Task by task</h2>", *(section(task, first=not place) for place, task in enumerate(report.tasks))]
    if report.retrieval:
        body += ["<h2>Retrieval</h2>", retrieval(report)]
    if any(task.prompts for task in report.tasks):
        body += ["<h2>Prompts</h2>", prompts(report)]
    body += ["<h2>Sources</h2>", sources(report)]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head>\n<body><main>{''.join(body)}</main></body></html>\n"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are HTML already."""
    cells = "".join(f"<th>{name}</th>" for name in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{lines}</tbody></table></div>'


def linked(result: Result) -> str:
    part = f' <span class="tag" title="{escape(result.partial)}">part</span>' if result.partial else ""
    return f'<a href="#{result.task}">{escape(result.title)}</a>{part}'


def tag(words: str) -> str:
    return f'<span class="tag">{escape(words)}</span>' if words else ""


def glance(report: Report) -> str:
    rows = []
    for task in report.tasks:
        result = task.result
        published = PUBLISHED.get(result.task)
        marks = {} if result.chance is None else {"chance": result.chance}
        chance = ' <span class="tag chance">at chance</span>' if result.at_chance else ""
        best = ""
        if published is not None:
            marks["paper"] = published.zero_shot
            of, marks["best"] = published.best
            best = f'{marks["best"]:.3f} <span class="soft">{escape(of)}</span>'
        rows.append(
            (
                linked(result) + chance,
                f"{result.clips:,}",
                result.metric,
                f"<b>{result.figure:.3f}</b>",
                plots.ladder(result.figure, marks),
                figure(result.chance),
                figure(published.zero_shot if published else None),
                best,
            )
        )
    key = (
        '<div class="key">'
        '<span><svg width="26" height="16"><rect class="bar" y="4" width="26" height="8" rx="4"/></svg>'
        "this checkpoint</span>"
        '<span><svg width="10" height="20"><g class="mark chance"><line x1="5" y1="2" x2="5" y2="18"/></g></svg>'
        "chance</span>"
        '<span><svg width="14" height="16"><path class="mark paper" d="M7 13 l5 -7 h-10 z"/></svg>CLAP 2022</span>'
        '<span><svg width="14" height="16"><circle class="mark best" cx="7" cy="8" r="4"/></svg>best found</span></div>'
    )
    head = ("zero-shot", "clips", "metric", "figure", "0 to 1", "chance", "CLAP 2022", "best found")
    note = (
        '<p class="soft"><span class="tag">part</span> marks a copy that holds less than the official data set: '
        "its figure is not comparable to a published one.</p>"
        if any(task.result.partial for task in report.tasks)
        else ""
    )
    return table(head, rows) + key + note


def weak(report: Report) -> str:
    """The three weakest classes of each task, and what they are confused with."""
    items = []
    for task in report.tasks:
        taken = {one.name: one for one in reversed(mistakes(task.result, 10_000))}
        for name, value in sorted(task.result.per_class.items(), key=lambda item: item[1])[:3]:
            if value >= 0.9:
                continue
            other = f" → {escape(taken[name].other)} {taken[name].share:.2f}" if name in taken else ""
            where = f'<span class="soft">{escape(task.result.title)}{other}</span>'
            items.append((value, f"<li><b>{value:.2f}</b> {escape(name)} {where}</li>"))
    if not items:
        return '<p class="soft">No class is below 0.9.</p>'
    return f'<ul class="weakest">{"".join(line for _, line in items)}</ul>'


def supervised(report: Report) -> str:
    rows = []
    for task in report.tasks:
        published = PUBLISHED.get(task.result.task)
        rows.append(
            (
                linked(task.result),
                task.result.metric,
                ", ".join(sorted({str(len(one.folds)) for one in task.supervised})),
                figure(task.result.figure),
                *(f"<b>{spread(task.protocol(name))}</b>" for name in report.protocols),
                figure(published.frozen if published else None),
                figure(published.finetuned if published else None),
                figure(HEAR.get(task.result.task)),
            )
        )
    head = (
        "task",
        "metric",
        "folds",
        "zero-shot",
        *map(escape, report.protocols.values()),
        "CLAP 2022 frozen",
        "CLAP 2022 fine-tuned",
        "CLAP 2022, HEAR",
    )
    return table(head, rows) + '<p class="soft">Mean over folds and seeds ± deviation over seeds.</p>'


def section(task: TaskReport, first: bool) -> str:
    result = task.result
    measure = "recall" if result.confusion is not None else "average precision"
    parts = [f'<p class="note">{escape(note)}</p>' for note in task.notes]
    words = " · ".join(f"{name} {value:.3f}" for name, value in result.figures.items())
    if result.metric == "F1":
        words += f" · a clip counts as having a class from a sigmoid score of {THRESHOLD:g}"
    prompts_used = ", ".join(f"<code>{escape(template)}</code>" for template in result.templates)
    parts.append(f'<p class="soft">{escape(words)} · prompt {prompts_used}</p>')
    pictures = [f"<div><h3>{measure} of each class</h3>{plots.bars(result.per_class, result.chance, measure)}</div>"]
    if result.confusion is not None and (matrix := plots.confusion(result.confusion, result.classes)):
        pictures.append(f"<div><h3>true class (rows), given class (columns)</h3>{matrix}</div>")
    curves = [plots.reliability(task.calibration.sigmoid, "sigmoid")]
    if task.calibration.softmax is not None:
        curves.insert(0, plots.reliability(task.calibration.softmax, "softmax"))
    pictures.append(f'<div><h3>reliability</h3><div class="side">{"".join(curves)}</div></div>')
    parts.append(f'<div class="side">{"".join(pictures)}</div>')
    if task.examples:
        head, *rows = examples_rows(task.examples, result.metric)
        cells = [[escape(cell) for cell in row] for row in rows]
        plot = plots.curve(task.examples, result.metric)
        listed = table([escape(cell) for cell in head], cells)
        parts.append(f'<h3>with examples</h3><div class="side"><div>{plot}</div><div>{listed}</div></div>')
    if task.open_set is not None:
        parts.append(
            f'<p class="soft">Open set, classes held out in {task.open_set.turns} turns: AUROC of none_of_these '
            f"{task.open_set.none_of_these:.3f}, of 1 - best softmax {task.open_set.max_softmax:.3f}</p>"
        )
    said = f"{result.metric} {result.figure:.3f}, {result.clips:,} clips"
    summary = f'{escape(result.title)} <span class="soft">{said}</span>'
    state = " open" if first else ""
    return f'<details id="{result.task}"{state}><summary>{summary}</summary><div>{"".join(parts)}</div></details>'


def retrieval(report: Report) -> str:
    rows = [
        (
            f"{escape(one.title)}, {direction} {tag(one.partial)}",
            f"{one.captions:,}",
            *map(figure, figures.values()),
        )
        for one in report.retrieval
        for direction, figures in one.figures.items()
    ]
    return table(("", "captions", *CUT_NAMES), rows)


def prompts(report: Report) -> str:
    asked = [task for task in report.tasks if task.prompts]
    templates = dict.fromkeys(name for task in asked for name in task.prompts or ())
    rows = []
    for name in templates:
        cells = []
        for task in asked:
            values = task.prompts or {}
            value = values.get(name)
            best = value is not None and value == max(values.values())
            cells.append(f"<b>{figure(value)}</b>" if best else figure(value))
        rows.append((f"<code>{escape(name)}</code>" if "{" in name else escape(name), *cells))
    return f'<p class="soft">{escape(PROMPTS)}</p>' + table(("", *(escape(task.result.title) for task in asked)), rows)


def sources(report: Report) -> str:
    lines = "".join(f"<li>{escape(name)}: {escape(where)}</li>" for name, where in cited(report).items())
    return f'<ul class="soft">{lines}</ul>'
