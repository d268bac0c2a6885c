"""Draws the pictures of docs/concepts with the bundled checkpoint: `python docs/figures.py` (`make figures`).

Sounds are the recordings of examples/ and noise, mixtures and signals made of numbers here. Every score is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from evaluation.calibration import Reliability, reliability
from evaluation.plots import line, rect, text
from model.audio import load as read
from model.checkpoint import Checkpoint, load
from model.classify import LabelEmbeddings, LabelPrompts
from model.config import BUNDLED
from model.embed import embed_prompts, embed_windows
from model.events import find_events
from model.examples import Prototype
from model.prompts import Embeddings, Label
from model.windows import Samples, cut, pad

Array = npt.NDArray[np.float64]
ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "images" / "concepts"
WIDTH = 600.0
STYLE = """
svg { color-scheme: light dark; --ink: #1b2430; --soft: #55636f; --line: #d5dce4; --paper: #fff; --track: #e9eef3;
  --a: #1f7a8c; --b: #c2571a; --c: #6d4fc4; }
@media (prefers-color-scheme: dark) { svg { --ink: #e6edf3; --soft: #a3b0bd; --line: #3a4653; --paper: #161d25;
  --track: #27323d; --a: #45b3c8; --b: #f08a4b; --c: #b09bf5; } }
text { font: 13px system-ui, "Segoe UI", sans-serif; fill: var(--ink); }
.soft { fill: var(--soft); } .bold { font-weight: 600; } .small { font-size: 12px; }
.paper { fill: var(--paper); stroke: var(--line); } .track { fill: var(--track); } .line { stroke: var(--line); }
.dash { stroke: var(--soft); stroke-dasharray: 4 3; } .wave { fill: var(--soft); opacity: .75; }
.a { fill: var(--a); } .b { fill: var(--b); } .c { fill: var(--c); } .on { fill: var(--paper); }
.curve { fill: none; stroke-width: 2; } .as { stroke: var(--a); } .bs { stroke: var(--b); } .cs { stroke: var(--c); }
"""
CLIPS = {"crow": "crow.flac", "burp": "burp.flac", "drums": "drums.flac", "choir": "choir.flac", "speech": "speech.wav"}
LABELS = {"crow": "crow", "burp": "burp", "drums": "drums", "choir": "choir", "speech": "a person speaking"}
"""The recordings, and the label that each of them should get."""


@dataclass(frozen=True)
class Listener:
    """The checkpoint, with the recordings of examples/ at its rate."""

    checkpoint: Checkpoint

    @property
    def rate(self) -> int:
        return self.checkpoint.config.front_end.sample_rate

    @property
    def window(self) -> int:
        return self.checkpoint.config.front_end.window_samples

    @cached_property
    def clips(self) -> dict[str, Samples]:
        return {name: read(ROOT / "examples" / file, self.rate) for name, file in CLIPS.items()}

    def filled(self, samples: Samples) -> Samples:
        """A clip as one window, as the checkpoint pads it."""
        return pad(samples[: self.window], self.window, self.checkpoint.config.front_end.padding)

    def hear(self, windows: Sequence[Samples]) -> Embeddings:
        """The embedding of each window [n, d]."""
        return embed_windows(self.checkpoint, np.stack(windows))

    def texts(self, prompts: Sequence[str]) -> Embeddings:
        return embed_prompts(self.checkpoint, prompts)

    def labels(self, names: Sequence[str], prototypes: Mapping[str, Prototype] | None = None) -> LabelEmbeddings:
        config = self.checkpoint.config
        labels = LabelPrompts(tuple(map(Label, names)), config.prompts.template, config.prompts.background)
        known = dict(zip(labels.prompts, self.texts(labels.prompts), strict=True))
        return labels.assemble(known, prototypes, config.example_scale)

    def scores(
        self, audio: Embeddings, names: Sequence[str], activation: Literal["softmax", "sigmoid"] = "softmax"
    ) -> Array:
        """Scores [..., labels]."""
        return self.labels(names).score(audio, self.checkpoint.logit_scale, activation).score

    def with_none(self, audio: Embeddings, names: Sequence[str]) -> tuple[Array, Array]:
        """Softmax scores [..., labels] and `none_of_these` [...]."""
        scores = self.labels(names).score(audio, self.checkpoint.logit_scale, "softmax", none_of_these=True)
        assert scores.none_of_these is not None  # noqa: S101
        return scores.score, scores.none_of_these


def noise(random: np.random.Generator, samples: int, colour: float) -> Samples:
    """Noise of power 1 whose spectrum falls with 1 / frequency^colour: 0 is white, 1 pink, 2 brown."""
    spectrum = np.fft.rfft(random.standard_normal(samples))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** (colour / 2)
    spectrum[0] = 0
    made = np.fft.irfft(spectrum, samples)
    return np.asarray(made / made.std(), np.float32)


def level(samples: Samples, decibel: float) -> Samples:
    """The samples at a power of so many decibels."""
    power = float(np.sqrt((samples.astype(np.float64) ** 2).mean()))
    return np.asarray(samples * (10 ** (decibel / 20) / power), np.float32)


@dataclass(frozen=True)
class Mixtures:
    """Windows with a recording in noise, from clear to inaudible: embeddings [n, d], and which recording is in each."""

    audio: Embeddings
    names: tuple[str, ...]

    @classmethod
    def of(cls, listener: Listener, each: int = 70) -> Mixtures:
        random = np.random.default_rng(7)
        windows, names = [], []
        for name, clip in listener.clips.items():
            whole = listener.filled(clip)
            for _ in range(each):
                sound = level(np.roll(whole, int(random.integers(len(whole)))), -20)
                around = level(noise(random, len(whole), random.uniform(0, 2)), -20 - random.uniform(-15, 25))
                windows.append(sound + around)
                names.append(name)
        return cls(listener.hear(windows), tuple(names))


def machines(listener: Listener, random: np.random.Generator, knocking: bool, count: int) -> list[Samples]:
    """Sounds of a machine that knocks or one that whines: each with its own speed, pitch and background noise."""
    made = []
    time = np.arange(listener.window) / listener.rate
    for _ in range(count):
        if knocking:
            beat = (time * random.uniform(3, 6)) % 1
            sound = noise(random, listener.window, 1) * np.exp(-beat * random.uniform(8, 16)).astype(np.float32)
        else:
            pitch = 500 * 2 ** random.uniform(-0.5, 0.5) * (1 + 0.02 * np.sin(2 * np.pi * random.uniform(1, 3) * time))
            sound = np.asarray(2 * (np.cumsum(pitch / listener.rate) % 1) - 1, np.float32)
        background = level(noise(random, listener.window, 1), -20 - random.uniform(5, 25))
        made.append(level(sound, -20) + background)
    return made


class Picture:
    """An SVG on a card of its own, so that it can be read on a page of any colour."""

    def __init__(self, height: float, words: str) -> None:
        self.height = height
        self.words = words
        self.parts: list[str] = [rect(0.5, 0.5, WIDTH - 1, height - 1, 'class="paper" rx="10"')]

    def add(self, *parts: str) -> None:
        self.parts += parts

    def svg(self, fingerprint: str) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {self.height:g}" role="img">'
            f"<title>{self.words}</title><desc>Computed with checkpoint {fingerprint}</desc>"
            f"<style>{' '.join(STYLE.split())}</style>{''.join(self.parts)}</svg>\n"
        )


def wave(samples: Samples, x: float, y: float, width: float, height: float) -> str:
    """A waveform's envelope around the middle of a box."""
    columns = round(width / 2)
    peaks = np.abs(samples[: len(samples) // columns * columns]).reshape(columns, -1).max(axis=1)
    tall = np.maximum(peaks / peaks.max() * height / 2, 0.5)
    step, middle = width / columns, y + height / 2
    top = " ".join(f"{x + step * (i + 0.5):.1f},{middle - h:.1f}" for i, h in enumerate(tall))
    under = " ".join(f"{x + step * (i + 0.5):.1f},{middle + h:.1f}" for i, h in reversed(list(enumerate(tall))))
    return f'<polygon class="wave" points="{top} {under}"/>'


def curve(points: Iterator[tuple[float, float]], style: str) -> str:
    return f'<polyline class="curve {style}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def dot(x: float, y: float, radius: float, style: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" {style}/>'


def number(value: float) -> str:
    return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def bar(x: float, y: float, width: float, value: float, style: str = "a") -> str:
    """A score from 0 to 1 as a bar, with its number."""
    return (
        rect(x, y, width, 11, 'class="track" rx="3"')
        + rect(x, y, max(width * value, 1), 11, f'class="{style}" rx="3"')
        + text(x + width + 7, y + 10, number(value), 'class="small"')
    )


def prompts(listener: Listener) -> Picture:
    """Similarities of prompts and recordings."""
    asked = (
        "this is a sound of crow",
        "a crow cawing outside",
        "an animal",
        "this is a sound of drums",
        "music",
        "this is a sound of choir",
        "this is a sound of burp",
        "this is a sound of a person speaking",
    )
    heard = listener.hear([listener.filled(clip) for clip in listener.clips.values()])
    similarity = listener.texts(asked) @ heard.T
    left, cell, row, top = 276.0, 61.0, 26.0, 84.0
    picture = Picture(top + row * len(asked) + 20, "Similarity of eight prompts and five recordings")
    for column, (name, clip) in enumerate(listener.clips.items()):
        x = left + cell * column
        picture.add(text(x + cell / 2, 26, name, 'class="bold" text-anchor="middle"'))
        picture.add(wave(clip, x + 7, 36, cell - 14, 36))
    low, high = float(similarity.min()), float(similarity.max())
    for place, prompt in enumerate(asked):
        y = top + row * place
        picture.add(text(left - 10, y + 18, f"“{prompt}”", 'text-anchor="end"'))
        for column in range(len(heard)):
            value = float(similarity[place, column])
            share = max(0.0, (value - low) / (high - low)) ** 1.3
            best = value == similarity[:, column].max()
            x = left + cell * column
            picture.add(rect(x + 1, y + 1, cell - 2, row - 2, f'class="a" fill-opacity="{share:.2f}" rx="3"'))
            style = ("on" if share > 0.55 else "") + (" bold" if best else "")
            picture.add(text(x + cell / 2, y + 18, number(value), f'class="{style}" text-anchor="middle"'))
    return picture


def windows(listener: Listener) -> Picture:
    """One recording in windows without and with overlap, and the events that follow."""
    random, rate = np.random.default_rng(1), listener.rate
    seconds = 16.0
    recording = level(noise(random, round(seconds * rate), 1), -58)
    for name, at in (("speech", 1.0), ("crow", 7.0), ("drums", 11.0)):
        sound = level(listener.clips[name], -22)
        repeated = np.resize(sound, {"crow": 2 * len(sound), "drums": 2 * len(sound)}.get(name, len(sound)))
        recording[round(at * rate) : round(at * rate) + len(repeated)] += repeated
    names, styles = ("a person speaking", "crow", "drums"), ("a", "b", "c")
    left, width, tall = 24.0, WIDTH - 48, 92.0
    picture = Picture(468, "A recording of 16 s in windows every 5 s and every 1 s, with the score of each window")

    def x(second: float) -> float:
        return left + width * second / seconds

    picture.add(wave(recording, left, 14, width, 46))
    for place, (name, style) in enumerate(zip(names, styles, strict=True)):
        at = left + (0, 160, 250)[place]
        picture.add(rect(at, 72, 12, 12, f'class="{style}" rx="3"'), text(at + 18, 83, name))
    window_s = listener.checkpoint.config.front_end.window_s
    for top, hop_s, words in ((118.0, window_s, "one after another"), (300.0, 1.0, "overlapping")):
        cuts, starts = cut(recording, listener.window, round(hop_s * rate), "repeat")
        scores = listener.scores(listener.hear(list(cuts)), names, "sigmoid")
        begins = starts / rate
        picture.add(text(left, top, f"hop_s = {hop_s:g}: windows of {window_s:g} s, {words}", 'class="bold"'))
        for place, begin in enumerate(begins):
            y = top + 8 + 4 * (place % 6)
            picture.add(rect(x(begin), y, x(begin + window_s) - x(begin) - 2, 2.5, 'class="wave" rx="1"'))
        base = top + 38 + tall
        picture.add(line(left, base, left + width, base, 'class="line"'))
        picture.add(line(left, base - tall / 2, left + width, base - tall / 2, 'class="dash"'))
        picture.add(text(left + width, base - tall / 2 - 4, "0.5", 'class="soft small" text-anchor="end"'))
        for column, style in enumerate(styles):
            middles = begins + window_s / 2
            points = list(zip(middles, scores[:, column], strict=True))
            picture.add(curve(((x(m), base - tall * s) for m, s in points), f"{style}s"))
            picture.add(*(dot(x(m), base - tall * s, 3, f'class="{style}"') for m, s in points))
        for event in find_events(begins, scores, [0.5] * 3, window_s, hop_s, seconds):
            y = base + 5 + 6 * event.label
            width_s = max(x(event.end_s) - x(event.start_s), 2)
            picture.add(rect(x(event.start_s), y, width_s, 4, f'class="{styles[event.label]}" rx="2"'))
    return picture


def activation(listener: Listener) -> Picture:
    """Softmax and sigmoid scores of one sound, of two, and of none of the labels."""
    random = np.random.default_rng(3)
    half = listener.window // 2
    drums, speech = (level(np.resize(listener.clips[name], half), -20) for name in ("drums", "speech"))
    sounds = {
        "drums": np.concatenate([drums, drums]),
        "drums and speech": np.concatenate([drums, speech]),
        "only noise": level(noise(random, 2 * half, 1), -40),
    }
    names = ("drums", "a person speaking", "crow", "choir")
    heard = listener.hear([listener.filled(sound) for sound in sounds.values()])
    left, wide, block = 156.0, 150.0, 116.0
    picture = Picture(36 + block * len(sounds), "Softmax and sigmoid scores of three recordings")
    picture.add(text(left, 26, "softmax: which of these?", 'class="bold"'))
    picture.add(text(left + 222, 26, "sigmoid: is this in it?", 'class="bold"'))
    softmax, sigmoid = listener.scores(heard, names), listener.scores(heard, names, "sigmoid")
    for place, (title, sound) in enumerate(sounds.items()):
        top = 44 + block * place
        picture.add(text(16, top + 10, title, 'class="bold"'), wave(sound, left, top - 1, wide * 2 + 72, 14))
        for row, name in enumerate(names):
            y = top + 20 + 19 * row
            picture.add(text(left - 10, y + 10, name, 'class="small" text-anchor="end"'))
            picture.add(bar(left, y, wide, float(softmax[place, row])))
            picture.add(bar(left + 222, y, wide, float(sigmoid[place, row]), "b"))
    return picture


def none_of_these(listener: Listener) -> Picture:
    """The same labels for a recording that one of them fits, and for one that none of them fits."""
    heard = listener.hear([listener.filled(listener.clips[name]) for name in ("drums", "crow")])
    names = ("drums", "piano", "rain")
    left, wide, block = 156.0, 150.0, 122.0
    picture = Picture(30 + block * 2, "Scores with and without none_of_these")
    picture.add(text(left, 26, "labels only", 'class="bold"'))
    picture.add(text(left + 222, 26, "with none_of_these", 'class="bold"'))
    plain = listener.scores(heard, names)
    scored, none = listener.with_none(heard, names)
    for place, name in enumerate(("drums", "crow")):
        top = 42 + block * place
        picture.add(text(16, top + 10, {"drums": "drums", "crow": "a crow"}[name], 'class="bold"'))
        picture.add(wave(listener.filled(listener.clips[name]), left, top - 1, wide * 2 + 72, 14))
        for row, label in enumerate((*names, "none of these")):
            y = top + 20 + 19 * row
            picture.add(text(left - 10, y + 10, label, 'class="small" text-anchor="end"'))
            if row < len(names):
                picture.add(bar(left, y, wide, float(plain[place, row])))
                picture.add(bar(left + 222, y, wide, float(scored[place, row])))
            else:
                picture.add(bar(left + 222, y, wide, float(none[place]), "b"))
    return picture


def examples(listener: Listener) -> Picture:
    """Two machines whose names say nothing, told apart by more and more examples."""
    random = np.random.default_rng(5)
    names = ("machine 3", "machine 7", "crow", "drums", "choir", "a person speaking", "rain")
    shown = [listener.hear(machines(listener, random, knocking, 16)) for knocking in (True, False)]
    held = np.concatenate([listener.hear(machines(listener, random, knocking, 40)) for knocking in (True, False)])
    truth = np.repeat([0, 1], 40)
    left, tall, top = 56.0, 190.0, 44.0
    columns = (0, 1, 4, 16)
    step = (WIDTH - left - 24) / len(columns)
    picture = Picture(top + tall + 60, "Scores of 80 recordings with 0, 1, 4 and 16 examples of each label")
    for tick in (0.0, 0.5, 1.0):
        y = top + tall * (1 - tick)
        picture.add(line(left, y, WIDTH - 20, y, 'class="line"'))
        picture.add(text(left - 8, y + 4, f"{tick:g}", 'class="soft small" text-anchor="end"'))
    turn = f'class="soft" text-anchor="middle" transform="rotate(-90 18 {top + tall / 2:g})"'
    picture.add(text(18, top + tall / 2, "score of the right label", turn))
    scale = listener.checkpoint.logit_scale
    for place, count in enumerate(columns):
        given = {name: Prototype.of(each[:count]) for name, each in zip(names, shown, strict=False)} if count else {}
        scores = listener.labels(names, given).score(held, scale, "softmax").score
        right = scores[np.arange(len(truth)), truth]
        middle = left + step * (place + 0.5)
        for which, style in ((0, "a"), (1, "b")):
            for number_, score in enumerate(right[truth == which]):
                spread = middle + (-26 if which == 0 else 26) + (number_ % 8 - 3.5) * 4
                shade = f'class="{style}" fill-opacity="0.6"'
                picture.add(dot(spread, top + tall * (1 - float(score)), 3.2, shade))
        share = float((scores.argmax(axis=1) == truth).mean())
        picture.add(text(middle, 28, f"{share:.0%} right", 'class="bold" text-anchor="middle"'))
        words = "words only" if not count else f"{count} example{'s' if count > 1 else ''}"
        picture.add(text(middle, top + tall + 20, words, 'text-anchor="middle"'))
    for at, style, name in ((left + 120, "a", "machine 3: it knocks"), (left + 290, "b", "machine 7: it whines")):
        picture.add(rect(at, top + tall + 34, 12, 12, f'class="{style}" rx="3"'))
        picture.add(text(at + 18, top + tall + 45, name, 'class="small"'))
    return picture


def thresholds(listener: Listener, mixtures: Mixtures) -> Picture:
    """Scores of windows with and without a sound, and what each threshold keeps."""
    name = "speech"
    scores = listener.scores(mixtures.audio, [LABELS[name]], "sigmoid")[:, 0]
    there = np.array(mixtures.names) == name
    grid = np.linspace(0.01, 0.99, 99)
    kept = scores[None, :] > grid[:, None]
    hits = (kept & there).sum(axis=1)
    recall, precision = hits / there.sum(), hits / np.maximum(kept.sum(axis=1), 1)
    f1 = 2 * hits / (kept.sum(axis=1) + there.sum())
    best = float(grid[f1.argmax()])
    left, width, tall = 30.0, WIDTH - 60, 110.0
    picture = Picture(392, "Sigmoid scores of windows with and without speech, and precision and recall by threshold")

    def x(score: float) -> float:
        return left + width * score

    picture.add(text(left, 26, "windows by their score for “a person speaking”", 'class="bold"'))
    for at, style, words in ((left + 360, "b", "with speech"), (left + 470, "wave", "without")):
        picture.add(rect(at, 15, 12, 12, f'class="{style}" rx="3"'), text(at + 18, 26, words, 'class="small"'))
    base, bins = 40 + tall, 25
    for part, style in ((~there, "wave"), (there, "b")):
        shares = np.histogram(scores[part], bins, (0, 1))[0] / part.sum()
        for place, share in enumerate(shares):
            height = tall * float(share) ** 0.5
            step = width / bins
            offset = step / 2 if style == "b" else 0
            picture.add(rect(left + step * place + offset, base - height, step / 2 - 1, height, f'class="{style}"'))
    picture.add(line(left, base, left + width, base, 'class="line"'))
    picture.add(text(left, base + 28, "what a threshold keeps", 'class="bold"'))
    for at, style, words in ((left + 180, "a", "precision"), (left + 300, "c", "recall")):
        picture.add(rect(at, base + 17, 12, 12, f'class="{style}" rx="3"'))
        picture.add(text(at + 18, base + 28, words, 'class="small"'))
    floor = base + 50 + 2 * tall * 0.7
    high = 2 * tall * 0.7
    for tick in (0.0, 0.5, 1.0):
        picture.add(line(left, floor - high * tick, left + width, floor - high * tick, 'class="line"'))
        picture.add(text(left - 6, floor - high * tick + 4, f"{tick:g}", 'class="soft small" text-anchor="end"'))
        picture.add(text(x(tick), floor + 18, f"{tick:g}", 'class="soft small" text-anchor="middle"'))
    some = hits > 0
    for values, style in ((precision[some], "as"), (recall, "cs")):
        picture.add(curve(((x(g), floor - high * v) for g, v in zip(grid, values, strict=False)), style))
    for at, words in ((0.5, "0.5"), (best, f"best F1: {best:.2f}")):
        picture.add(line(x(at), 40, x(at), floor, 'class="dash"'))
        if words != "0.5":
            side = 'class="small" text-anchor="end"' if at > 0.7 else 'class="small"'
            picture.add(text(x(at) + (-5 if at > 0.7 else 5), floor - 8, words, side))
    picture.add(text(left + width / 2, floor + 32, "threshold", 'class="soft small" text-anchor="middle"'))
    return picture


def probability(listener: Listener, mixtures: Mixtures) -> Picture:
    """How often scores are right, and how one score depends on the other labels."""
    names = tuple(LABELS.values())
    truth = np.array([list(LABELS).index(name) for name in mixtures.names])
    few = listener.scores(mixtures.audio, names)
    few_right = reliability(few.max(axis=1), few.argmax(axis=1) == truth, 10)
    picture = Picture(322, "Share of right answers by score, and the score of one label beside more and more labels")
    left, side, top = 52.0, 210.0, 40.0
    picture.add(text(left, 24, "right as often as the score says?", 'class="bold"'))
    picture.add(diagram(few_right, left, top, side))

    heard = listener.hear([level(listener.filled(listener.clips["choir"]), -20)])
    lists = [
        ("2 labels", ("choir", "drums")),
        ("+ rain, a dog", ("choir", "drums", "rain", "a dog")),
        ("+ a piano, an organ", ("choir", "drums", "rain", "a dog", "a piano", "an organ")),
        ("+ people singing", ("choir", "drums", "rain", "a dog", "a piano", "an organ", "people singing")),
        ("+ a hymn", ("choir", "drums", "rain", "a dog", "a piano", "an organ", "people singing", "a hymn")),
    ]
    right = 336.0
    picture.add(text(right, 24, "one recording's score for “choir”", 'class="bold"'))
    for row, (words, labels) in enumerate(lists):
        y = top + 8 + 44 * row
        picture.add(text(right, y + 8, words, 'class="small"'))
        picture.add(bar(right, y + 15, 180, float(listener.scores(heard, labels)[0, 0]), "b"))
    return picture


def diagram(measured: Reliability, left: float, top: float, side: float) -> str:
    """Share right against score; dots grow with the number of windows, and the diagonal is a probability."""
    parts = [
        rect(left, top, side, side, 'class="line" fill="none"'),
        line(left, top + side, left + side, top, 'class="dash"'),
    ]
    points = list(zip(measured.scores, measured.right, measured.counts, strict=True))
    parts.append(curve(((left + side * s, top + side * (1 - r)) for s, r, _ in points), "as"))
    most = max(measured.counts)
    for score, share, count in points:
        radius = 3 + 6 * (count / most) ** 0.5
        parts.append(dot(left + side * score, top + side * (1 - share), radius, 'class="a" fill-opacity="0.8"'))
    for tick in (0.0, 0.5, 1.0):
        at, y = left + side * tick, top + side * (1 - tick)
        parts.append(text(at, top + side + 17, f"{tick:g}", 'class="soft small" text-anchor="middle"'))
        parts.append(text(left - 7, y + 4, f"{tick:g}", 'class="soft small" text-anchor="end"'))
    parts.append(text(left + side / 2, top + side + 36, "score of the best label", 'class="soft" text-anchor="middle"'))
    turn = f'class="soft" text-anchor="middle" transform="rotate(-90 18 {top + side / 2:g})"'
    parts.append(text(18, top + side / 2, "share that is right", turn))
    return "".join(parts)


def draw(folder: Path) -> None:
    """Write every picture into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    listener = Listener(load(BUNDLED))
    mixtures = Mixtures.of(listener)
    drawn: dict[str, Callable[[], Picture]] = {
        "prompts": lambda: prompts(listener),
        "windows": lambda: windows(listener),
        "activation": lambda: activation(listener),
        "none-of-these": lambda: none_of_these(listener),
        "examples": lambda: examples(listener),
        "thresholds": lambda: thresholds(listener, mixtures),
        "probability": lambda: probability(listener, mixtures),
    }
    for name, make in drawn.items():
        (folder / f"{name}.svg").write_text(make().svg(listener.checkpoint.fingerprint))


if __name__ == "__main__":
    draw(PICTURES)
