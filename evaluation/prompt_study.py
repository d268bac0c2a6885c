"""The prompt study (paper, table 3): the same clips and class names in other prompt templates."""

from __future__ import annotations

from evaluation.embeddings import Encoded
from evaluation.task import DataSet
from evaluation.zero_shot import zero_shot
from model.checkpoint import Checkpoint

TEMPLATES = (
    "{label}",
    "this is {label}",
    "i can hear {label}",
    "this is an audio of {label}",
    "this is a sound of {label}",
    "a recording of {label}",
)


def prompt_study(checkpoint: Checkpoint, data_set: DataSet, encoded: Encoded) -> dict[str, float]:
    """The task's figure with each template, including its own, and with all of them averaged."""
    templates = list(dict.fromkeys((data_set.task.template, *TEMPLATES)))
    figures = {template: zero_shot(checkpoint, data_set, encoded, [template]).figure for template in templates}
    return figures | {"all averaged": zero_shot(checkpoint, data_set, encoded, templates).figure}
