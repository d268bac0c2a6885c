"""Every setting of `anysound serve`: one typed field is an ANYSOUND_* variable, a command-line flag and its help."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from model.config import BUNDLED

MIB = 1 << 20


class SettingsError(ValueError):
    """The settings make sense, what they point at does not; the message says what."""


class Settings(BaseSettings):
    """Serve a checkpoint over HTTP."""

    model_config = SettingsConfigDict(
        env_prefix="ANYSOUND_",
        extra="ignore",
        frozen=True,
        cli_prog_name="anysound serve",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        protected_namespaces=(),
    )

    model: str = Field(str(BUNDLED), description="Checkpoint directory or hub id; the bundled one if not set.")
    device: str = Field("auto", description="auto, cpu, cuda, or a list (cuda:0,cuda:1): a worker process for each.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Of the audio encoder. auto: bfloat16 where it is faster and changes no score."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    api_processes: int = Field(1, ge=1, le=64, description="Processes that answer HTTP.")
    decode_processes: int = Field(2, ge=1, le=64, description="Sandboxed decoders of each API process.")
    api_keys_file: Path | None = Field(
        None, description="File of SHA-256 hashes of API keys; no key is needed without."
    )
    rate_limit: float | None = Field(
        None, gt=0, description="Requests a second that each key may send, in the long run; any number without."
    )
    rate_burst: int = Field(20, ge=1, description="Requests that a key may send at once after a pause.")
    cors_origins: tuple[str, ...] = Field(
        (), description="Origins whose pages may ask from a browser, as a JSON list; none without."
    )
    metrics_port: int | None = Field(
        None, ge=1, le=65_535, description="Serve /metrics there and not on the main port."
    )
    max_upload_bytes: int = Field(64 * MIB, ge=1, description="Largest request body.")
    max_inflight_bytes: int = Field(
        512 * MIB, ge=1, description="Most bytes of request bodies that an API process holds at once."
    )
    max_audio_seconds: float = Field(600.0, gt=0, description="Longest clip.")
    max_clips: int = Field(32, ge=1, description="Most clips a request.")
    max_labels: int = Field(1_000, ge=1, description="Most labels a request.")
    max_label_chars: int = Field(1_000, ge=1, description="Longest label, prompt or template.")
    max_queue_seconds: float = Field(600.0, gt=0, description="Most audio that may wait for a worker.")
    max_batch_seconds: float = Field(160.0, gt=0, description="Most audio in one batch.")
    prompt_cache_size: int = Field(20_000, ge=0, description="Prompt embeddings kept in each API process.")
    audio_cache_bytes: int = Field(
        64 * MIB, ge=0, description="Audio embeddings kept in each API process, in bytes; 0 keeps none, nor in Redis."
    )
    redis_url: SecretStr | None = Field(
        None, description="redis://user@host:port/0, or rediss:// for TLS; without, caches are in the process alone."
    )
    redis_password_file: Path | None = Field(None, description="File with the password of the URL's user.")
    redis_ca_file: Path | None = Field(None, description="Certificate authority that Redis' certificate is checked by.")
    redis_timeout_s: float = Field(
        0.05, gt=0, description="How long a request waits for Redis before it goes on without."
    )
    redis_ttl_s: int = Field(604_800, ge=1, description="How long Redis keeps an embedding.")
    request_timeout_s: float = Field(30.0, gt=0, description="Longest time from a request's first byte to its answer.")
    drain_s: float = Field(10.0, ge=0, description="How long requests may take to finish after SIGTERM.")
    otlp_endpoint: str | None = Field(
        None, description="OTLP/HTTP address that traces go to, as http://collector:4318; needs the extra `traces`."
    )
    log_format: Literal["json", "text"] = Field("text", description="One line a request: json or text.")


def parse(arguments: Sequence[str]) -> Settings:
    """Settings from flags, then variables, then defaults. Ends the process with status 2 and one line on nonsense."""
    try:
        return Settings(_cli_parse_args=list(arguments))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])).replace("-", "_")
        print(f"anysound serve: {name} (ANYSOUND_{name.upper()}): {first['msg']}", file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
