"""The labels of a request that names none: AudioSet's 527 classes in everyday words, or a file of the operator's."""

from __future__ import annotations

import sys
from pathlib import Path

from service.api.json_body import parse_object
from service.api.label_sets.label_set import LabelSet
from service.api.problems import Problem
from service.api.routes.label_sets import build
from service.settings import Settings, SettingsError

BUNDLED = Path(__file__).with_suffix(".txt")
ID = "default"


def read_default_labels(settings: Settings) -> LabelSet:
    """The set in the file that the settings name: one label per line, or what `PUT /v1/label-sets/{id}` takes
    without examples.

    The limit on the labels of a request does not apply. Raises SettingsError if the file cannot be used.
    """
    path = settings.default_labels or BUNDLED
    try:
        content = path.read_bytes()
        members = parse_object([content]) if content.lstrip().startswith(b"{") else {"labels": lines(content)}
        label_set, examples = build(ID, members, settings.model_copy(update={"max_labels": sys.maxsize}))
    except (OSError, UnicodeDecodeError, Problem) as error:
        raise SettingsError(f"cannot use the default labels in {path}: {error}") from None
    if examples:
        raise SettingsError(f"cannot use the default labels in {path}: labels with examples are not taken from a file")
    return label_set


def lines(content: bytes) -> list[str]:
    """The lines of a text in UTF-8 that are not empty."""
    return [line.strip() for line in content.decode("utf-8-sig").splitlines() if line.strip()]
