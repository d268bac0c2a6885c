"""Settings as people give them: variables and flags, empty, listed, or set by Kubernetes."""

from __future__ import annotations

import pytest

from service.settings import Settings, parse

A, B = "https://app.example", "http://localhost:3000"


@pytest.mark.parametrize(
    ("value", "origins"),
    [
        (A, (A,)),
        (f"{A},{B}", (A, B)),
        (f" {A} , {B} ", (A, B)),
        (f'["{A}", "{B}"]', (A, B)),
        ("*", ("*",)),
        ("", ()),
    ],
)
def test_origins_are_a_list_in_any_usual_form(monkeypatch: pytest.MonkeyPatch, value: str, origins: tuple[str]) -> None:
    monkeypatch.setenv("ANYSOUND_CORS_ORIGINS", value)
    assert parse([]).cors_origins == origins
    monkeypatch.delenv("ANYSOUND_CORS_ORIGINS")
    assert parse(["--cors-origins", value]).cors_origins == origins


def test_the_flag_for_origins_may_be_repeated() -> None:
    assert parse(["--cors-origins", A, "--cors-origins", B]).cors_origins == (A, B)


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(f"ANYSOUND_{name.upper()}", "")
    assert parse([]) == Settings.model_construct()


@pytest.mark.parametrize(("given", "path"), [("/sounds", "/sounds"), ("/sounds/", "/sounds"), ("/a/b", "/a/b")])
def test_a_path_prefix_has_no_slash_at_its_end(given: str, path: str) -> None:
    assert parse(["--root-path", given]).root_path == path


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ANYSOUND_CORS_ORIGINS", "app.example", "'app.example' is not an origin, such as https://app.example, or *"),
        ("ANYSOUND_CORS_ORIGINS", f"{A}/page", f"'{A}/page' is not an origin, such as https://app.example, or *"),
        ("ANYSOUND_CORS_ORIGINS", '["https', "neither a JSON list nor origins separated by commas"),
        ("ANYSOUND_ROOT_PATH", "sounds", "'sounds' is not a path prefix, such as /sounds"),
        ("ANYSOUND_ROOT_PATH", "/so unds", "is not a path prefix"),
        ("ANYSOUND_PORT", "tcp://10.0.0.1:80", "was set by Kubernetes for a Service of that name"),
        ("ANYSOUND_METRICS_PORT", "tcp://10.0.0.1:80", "Set enableServiceLinks: false in the pod, or pass --metrics-"),
        ("ANYSOUND_DECODE_PROCESSES", "65", "less than or equal to 64"),
        ("ANYSOUND_MAX_CLIPS", "0", "greater than or equal to 1"),
    ],
)
def test_an_invalid_variable_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as ended:
        parse([])
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"anysound serve: {variable.removeprefix('ANYSOUND_').lower()} ({variable}): ")
    assert said in line


def test_decoders_are_bounded_over_all_processes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--api-processes", "3", "--decode-processes", "64"])
    assert "192 decoders in all API processes together, at most 128 are possible" in capsys.readouterr().err


def test_a_flag_stands_in_for_a_variable_that_kubernetes_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYSOUND_PORT", "tcp://10.0.0.1:80")
    assert parse(["--port", "8000"]).port == 8000
