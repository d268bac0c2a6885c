"""Every setting of `anysound serve`. One typed field is an ANYSOUND_* variable, a command-line flag and its help."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from model.config import BUNDLED
from model.faults import first_fault

MIB = 1 << 20
PREFIX = "ANYSOUND_"
ORIGIN = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/\s?#]+")
SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://")
"""Matches the values of variables that Kubernetes sets in each pod for each Service of the namespace."""
MOST_DECODERS = 128
USAGE_STATUS = 2
"""Exit status for options or variables that are not valid, as argparse has it."""


class SettingsError(ValueError):
    """The settings are valid, but what they refer to is not usable; the message says why."""


def split_origins(value: object) -> object:
    """`https://a, https://b`, one origin, or a JSON list of them."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError(f"{value!r} is neither a JSON list nor origins separated by commas") from None
    return [origin.strip() for origin in value.split(",") if origin.strip()]


class Settings(BaseSettings):
    """Serve a checkpoint over HTTP."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        cli_prog_name="anysound serve",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        protected_namespaces=(),
    )

    model: str = Field(str(BUNDLED), description="Checkpoint directory or hub id. Default: the bundled checkpoint.")
    device: str = Field(
        "auto",
        description="auto (every GPU, else the CPU), cpu, cuda (every GPU), or a list such as cuda:0,cuda:1. "
        "Each device gets a worker process.",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Precision of the audio encoder. auto: bfloat16 if it is faster and changes no score."
    )
    default_labels: Path | None = Field(
        None,
        description="File with labels for Hugging Face clients that send none: one per line, or a label set in JSON. "
        "Default: the 527 classes of AudioSet in everyday words.",
    )
    host: str = Field("127.0.0.1", description="Address to listen on; :: listens on IPv6 and IPv4.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 picks a free one.")
    root_path: str = Field(
        "", description="Path prefix under which a reverse proxy serves this service, such as /sounds."
    )
    cores: int | None = Field(
        None,
        ge=1,
        description="CPU cores to compute on, each with a batch of its own. "
        "Default: as many as CPU affinity and cgroup quota allow, at most 16.",
    )
    api_processes: int = Field(1, ge=1, le=64, description="Number of processes that answer HTTP.")
    decode_processes: int = Field(2, ge=1, le=64, description="Number of sandboxed decoders per API process.")
    decode_sandbox: Literal["required", "best-effort"] = Field(
        "required",
        description="required: do not start if decoders cannot be confined. "
        "best-effort: confine them as far as the kernel can.",
    )
    api_keys_file: Path | None = Field(
        None, description="File with SHA-256 hashes of API keys, one per line. No key is required if unset."
    )
    rate_limit: float | None = Field(
        None, gt=0, description="Requests per second per API key, on average. Unlimited if unset."
    )
    rate_burst: int = Field(20, ge=1, description="Requests that a key may send at once after a pause.")
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_origins)] = Field(
        (), description="Origins whose pages may call the service from a browser, separated by commas; * for all."
    )
    max_upload_bytes: int = Field(64 * MIB, ge=1, description="Maximum size of a request body in bytes.")
    max_inflight_bytes: int = Field(
        512 * MIB, ge=1, description="Maximum total size of request bodies held by an API process, in bytes."
    )
    max_audio_seconds: float = Field(600.0, gt=0, description="Maximum length of a clip in seconds.")
    max_request_audio_seconds: float = Field(
        1_200.0, gt=0, description="Maximum length of all clips of a request together, in seconds."
    )
    max_request_windows: int = Field(
        1_200, ge=1, description="Maximum number of windows of all clips of a request that has its own hop_s."
    )
    max_answer_bytes: int = Field(
        32 * MIB, ge=1, description="Maximum size of an answer (clips * windows * labels), in bytes."
    )
    max_clips: int = Field(32, ge=1, description="Maximum number of clips per request.")
    max_examples: int = Field(
        1_024, ge=1, description="Maximum number of examples of all labels of a request together."
    )
    max_examples_seconds: float = Field(
        6_000.0, gt=0, description="Maximum length of all examples of a registered label set together, in seconds."
    )
    max_labels: int = Field(1_000, ge=1, description="Maximum number of labels per request.")
    max_label_chars: int = Field(1_000, ge=1, description="Maximum length of a label, prompt or template.")
    max_label_sets: int = Field(1_000, ge=1, le=10_000, description="Maximum number of registered label sets.")
    max_label_sets_per_key: int = Field(200, ge=1, description="Maximum number of registered label sets per API key.")
    max_label_sets_bytes: int = Field(
        64 * MIB, ge=1, description="Maximum total size of registered label sets in bytes."
    )
    max_label_sets_bytes_per_key: int = Field(
        16 * MIB, ge=1, description="Maximum size of the registered label sets per API key, and of one set, in bytes."
    )
    max_streams: int = Field(64, ge=1, description="Maximum number of open streams per API process.")
    max_streams_per_key: int = Field(
        16, ge=1, description="Maximum number of open streams per API key and API process."
    )
    stream_idle_s: float = Field(30.0, gt=0, description="Seconds without a message after which a stream is closed.")
    max_queue_seconds: float = Field(
        600.0, gt=0, description="Maximum amount of audio waiting for a worker, in seconds."
    )
    max_batch_seconds: float = Field(160.0, gt=0, description="Maximum amount of audio in a batch, in seconds.")
    prompt_cache_size: int = Field(20_000, ge=0, description="Number of prompt embeddings cached per API process.")
    audio_cache_bytes: int = Field(
        64 * MIB,
        ge=0,
        description="Size of the audio embedding cache per API process, in bytes. 0 disables it, in Redis too.",
    )
    redis_url: SecretStr | None = Field(
        None,
        description="redis://user@host:port/0, or rediss:// for TLS. Caches are in the process only if unset.",
    )
    redis_password_file: Path | None = Field(None, description="File with the password of the user in redis_url.")
    redis_ca_file: Path | None = Field(None, description="CA certificate that Redis' certificate is verified against.")
    redis_timeout_s: float = Field(
        0.05, gt=0, description="Seconds that a request waits for Redis before it is served without it."
    )
    redis_ttl_s: int = Field(604_800, ge=1, description="Seconds until an embedding expires in Redis.")
    request_timeout_s: float = Field(
        30.0, gt=0, description="Maximum time from a request's first byte to its answer, in seconds."
    )
    keep_alive_s: int = Field(
        75, ge=1, description="Seconds until an idle connection is closed; longer than a proxy in front keeps it."
    )
    drain_s: float = Field(10.0, ge=0, description="Seconds that requests may take to finish after SIGTERM.")
    metrics_port: int | None = Field(
        None, ge=1, le=65_535, description="Port that serves /metrics, instead of the main port."
    )
    otlp_endpoint: str | None = Field(
        None,
        description="OTLP/HTTP address of a trace collector, such as http://collector:4318. "
        "Requires the extra `traces`.",
    )
    log_format: Literal["json", "text"] = Field("text", description="Format of log lines.")

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is not an origin, such as https://app.example, or *")
        return origins

    @field_validator("decode_processes")
    @classmethod
    def _decoders(cls, number: int, info: ValidationInfo) -> int:
        total = number * int(info.data.get("api_processes", 1))
        if total > MOST_DECODERS:
            raise ValueError(f"{total} decoders in all API processes together, at most {MOST_DECODERS} are possible")
        return number

    @field_validator("root_path")
    @classmethod
    def _prefix(cls, path: str) -> str:
        path = path.rstrip("/")
        if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
            raise ValueError(f"{path!r} is not a path prefix, such as /sounds")
        return path


def parse(arguments: Sequence[str]) -> Settings:
    """Settings from flags, then variables, then defaults. An invalid one ends the process with a one-line message."""
    try:
        return Settings(_cli_parse_args=list(arguments))
    except ValidationError as error:
        fault = first_fault(error)
        name = fault.place.split(".")[0].replace("-", "_")
        variable, message = f"{PREFIX}{name.upper()}", fault.message
        value, given = os.environ.get(variable, ""), error.errors()[0]["input"]
        if SERVICE_LINK.match(value) and given == value:
            message = (
                f"{given!r} was set by Kubernetes for a Service of that name, not by you. "
                f"Set enableServiceLinks: false in the pod, or pass --{name.replace('_', '-')}."
            )
        print(f"anysound serve: {name} ({variable}): {message}", file=sys.stderr)  # noqa: T201
        raise SystemExit(USAGE_STATUS) from None
