"""Prompts are text: a label is put into a template and never formatted."""

from __future__ import annotations

import numpy as np
import pytest

from model.prompts import Label, check_template, ensemble, fill, prompts_of


@pytest.mark.parametrize("template", ["this is a sound of {label}", "{}", "{label}!"])
def test_a_template_has_exactly_one_placeholder(template: str) -> None:
    check_template(template)


@pytest.mark.parametrize("template", ["", "a sound", "{label} and {label}", "{} {label}", "{} {}", "{other}"])
def test_none_or_two_placeholders_are_refused(template: str) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        check_template(template)


@pytest.mark.parametrize("name", ["{0.__class__}", "{:>300000000}", "{label}", "雨", "🐕", "100% {}"])
def test_a_label_is_plain_text(name: str) -> None:
    assert fill("a sound of {label}.", name) == f"a sound of {name}."


def test_a_label_s_own_prompts_stand_as_they_are() -> None:
    assert prompts_of(Label("dog", ("a dog barks", "woof")), "the sound of {}") == ("a dog barks", "woof")
    assert prompts_of(Label("dog"), "the sound of {}") == ("the sound of dog",)


def test_an_ensemble_is_the_normalised_mean() -> None:
    vectors = np.eye(3, dtype=np.float32)
    np.testing.assert_allclose(ensemble(vectors), np.full(3, 3**-0.5), rtol=1e-6)
    np.testing.assert_allclose(ensemble(vectors[:1]), vectors[0])
