"""Requests that the OpenAPI document allows, and some that it does not: each has an answer that the document names.

`FUZZ_EXAMPLES=1000 pytest tests/service/api/test_openapi.py` tries that many requests per operation.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as fuzz_settings
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.core.result import Ok
from schemathesis.generation import GenerationMode

from service.api.app import create_app
from service.settings import Settings
from tests.service.api.test_access import listening
from tests.service.conftest import SETTINGS
from tests.service.spectral import SpectralEmbedder

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "10"))
ANSWER_S = 20
# What a schema cannot say: that a template has one placeholder, that bytes are a sound.
SAID_IN_WORDS = [checks.positive_data_acceptance]

DOCUMENT = schemathesis.openapi.from_dict(create_app(SETTINGS, SpectralEmbedder()).openapi())
OPERATIONS = {each.ok().label: each.ok() for each in DOCUMENT.get_all_operations() if isinstance(each, Ok)}
CASES = [
    (label, mode)
    for label, operation in OPERATIONS.items()
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or operation.body or list(operation.iter_parameters())
]
"""Nothing can be wrong with a request to an operation that takes nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a service over a real socket."""
    limits = {"max_upload_bytes": 100_000, "request_timeout_s": 10.0}
    settings = Settings(**{**SETTINGS.model_dump(), **limits})
    with listening(create_app(settings, SpectralEmbedder())) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize(("label", "mode"), CASES, ids=str)
@fuzz_settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_an_operation_answers_as_the_document_says(
    data: st.DataObject, label: str, mode: GenerationMode, address: str
) -> None:
    case = data.draw(OPERATIONS[label].as_strategy(generation_mode=mode))
    case.headers.pop("X-Deadline-Ms", None)  # one of a nanosecond is allowed, and rightly passes: 504
    case.call_and_validate(base_url=address, excluded_checks=SAID_IN_WORDS, timeout=ANSWER_S)
