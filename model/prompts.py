"""Prompts: the text that is embedded for a label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PLACEHOLDERS = ("{label}", "{}")

Embeddings = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Label:
    """A label: the name to report, and its prompts. Without prompts, the name is put into the template.

    `threshold` is the sigmoid score above which the label counts as heard.
    """

    name: str
    prompts: tuple[str, ...] = ()
    negative_prompts: tuple[str, ...] = ()
    threshold: float | None = None


def check_template(template: str) -> None:
    """Raise ValueError unless `template` has exactly one placeholder, `{label}` or `{}`."""
    count = sum(template.count(placeholder) for placeholder in PLACEHOLDERS)
    if count != 1:
        raise ValueError(f"a template needs exactly one {{label}} (or {{}}); this one has {count}")


def fill(template: str, name: str) -> str:
    """Replace the placeholder of `template` by `name`. Braces in a name are text, not a format."""
    for placeholder in PLACEHOLDERS:
        if placeholder in template:
            return template.replace(placeholder, name)
    raise ValueError("the template has no {label}")


def prompts_of(label: Label, template: str) -> tuple[str, ...]:
    """The positive prompts of `label`: its own, or its name in the template."""
    return label.prompts or (fill(template, label.name),)


def ensemble(embeddings: Embeddings) -> Embeddings:
    """Mean of L2-normalised prompt embeddings [n, d], normalised again [d] (Radford et al. 2021, section 3.1.4)."""
    mean: Embeddings = embeddings.mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-12)
