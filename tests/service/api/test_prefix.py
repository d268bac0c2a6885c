"""Behind a proxy that serves the service under a path prefix, and strips it or does not."""

from __future__ import annotations

import re

import pytest

from tests.service.conftest import Serve


@pytest.mark.parametrize("asked", ["", "/sounds"], ids=["stripped", "not stripped"])
def test_the_documentation_loads_what_it_needs_through_the_proxy(serve: Serve, asked: str) -> None:
    client = serve(root_path="/sounds")
    page = client.get(f"{asked}/docs")
    assert page.status_code == 200
    assert "'self'" in page.headers["content-security-policy"]
    named = re.findall(r"(?:src|href)=\"([^\"]+)\"|url: '([^']+)'", page.text)
    addresses = [script or document for script, document in named]
    assert "/sounds/openapi.json" in addresses
    for address in addresses:
        assert address.startswith("/sounds/")
        assert client.get(asked + address.removeprefix("/sounds")).status_code == 200, address


@pytest.mark.parametrize("path", ["/v1/model", "/sounds/v1/model", "/livez", "/sounds/livez"])
def test_a_route_answers_with_and_without_the_prefix(serve: Serve, path: str) -> None:
    assert serve(root_path="/sounds").get(path).status_code == 200


@pytest.mark.parametrize("path", ["/sounds/sounds/v1/model", "/soundsv1/model", "//v1/model"])
def test_another_path_is_no_route(serve: Serve, path: str) -> None:
    assert serve(root_path="/sounds").get(path).status_code == 404


@pytest.mark.parametrize("path", ["/v1/model", "/sounds/v1/model"])
def test_a_key_is_asked_for_under_the_prefix_too(
    serve: Serve, path: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("a" * 64)
    assert serve(root_path="/sounds", api_keys_file=keys).get(path).status_code == 401


@pytest.mark.parametrize("path", ["/v1/model/", "/v1/classify/", "/docs/"])
def test_a_slash_too_many_is_no_redirect(serve: Serve, path: str) -> None:
    """Behind TLS a redirect would name http://, and a client would send its key in clear."""
    answer = serve().get(path, follow_redirects=False)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
