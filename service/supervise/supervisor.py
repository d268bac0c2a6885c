"""`anysound serve`: a worker process per device, and API processes that share one listening socket."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from model.cores import cores
from service.inspection import forbid_inspection
from service.observe import logs
from service.observe.shared_counts import SharedCounts
from service.settings import Settings, parse
from service.supervise.devices import devices
from service.supervise.folder import NoFolder, private_folder
from service.supervise.processes import FAILED, Child, Supervisor, module
from service.supervise.start_limit import start_limit_s

log = logging.getLogger("anysound.supervisor")

THREADS = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive")}
"""Idle compute threads sleep. Spinning ones, OpenMP's default, starve the decoders and API processes they share cores
with, and each other: with all cores busy a forward pass took 30 times as long."""
SINGLE = {"OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS", "1")}
"""numpy multiplies small matrices here; its threads, one per core of the node, would only take memory."""


def children(
    settings: Settings, folder: Path, counts: SharedCounts, listener: socket.socket, metrics: socket.socket | None
) -> tuple[list[Child], list[Child]]:
    """The workers, one per device, and the API processes. Raises ValueError if the devices do not exist."""
    names = devices(settings.device)
    endpoints = [f"ipc://{folder}/worker-{number}" for number in range(len(names))]
    environment = {**settings_environment(settings), **user_environment(folder), "PYTHONUTF8": "1"}

    def worker(number: int) -> Child:
        temporary = folder / f"worker-{number}.tmp"
        temporary.mkdir()

        def command(restarts: int) -> list[str]:
            return module(
                "service.worker",
                *("--model", settings.model),
                *("--device", names[number]),
                *("--dtype", settings.dtype),
                *("--endpoint", endpoints[number]),
                *("--max-batch-seconds", str(settings.max_batch_seconds)),
                *("--max-queue-seconds", str(settings.max_queue_seconds)),
                *("--stats-file", str(folder / f"worker-{number}.json")),
                *("--restarts", str(restarts)),
            )

        return Child(
            f"worker {number} on {names[number]}",
            command,
            environment={**environment, **worker_threads(), "TMPDIR": str(temporary)},
            on_exit=lambda: clear(temporary),
            start_limit_s=start_limit_s(Path(settings.model), names[number]),
        )

    listeners = ["--listener", str(listener.fileno())]
    descriptors = (listener.fileno(), *counts.descriptors)
    if metrics is not None:
        listeners += ["--metrics-listener", str(metrics.fileno())]
        descriptors += (metrics.fileno(),)

    def api(number: int) -> Child:
        name = api_name(number)
        temporary = folder / name
        temporary.mkdir()

        def command(_: int) -> list[str]:
            return module("service.api.server", *listeners, "--folder", str(folder), *endpoints)

        def on_exit() -> None:
            counts.ended(name)
            clear(temporary)

        return Child(
            f"API process {number}",
            command,
            descriptors,
            {**environment, **SINGLE, **counts.environment(name), "TMPDIR": str(temporary)},
            on_exit,
        )

    return [worker(number) for number in range(len(names))], [api(number) for number in range(settings.api_processes)]


def api_name(number: int) -> str:
    """The name of an API process in file names."""
    return f"api-{number}"


def clear(temporary: Path) -> None:
    """Empty a temporary directory."""
    shutil.rmtree(temporary, ignore_errors=True)
    with contextlib.suppress(OSError):
        temporary.mkdir()


def worker_threads() -> dict[str, str]:
    """Environment variables that bound the compute threads by the cores to use, and let idle ones sleep."""
    return {**THREADS, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(cores())), **SINGLE}


def user_environment(folder: Path) -> dict[str, str]:
    """USER and HOME for a user id without an entry in the password database, since libraries look both up."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return {name: os.environ.get(name) or value for name, value in (("USER", "anysound"), ("HOME", str(folder)))}
    return {}


def settings_environment(settings: Settings) -> dict[str, str]:
    """Environment variables that give a child the same settings, including those given as flags."""
    values = settings.model_dump(mode="json", exclude_none=True)
    if settings.redis_url is not None:
        values["redis_url"] = settings.redis_url.get_secret_value()  # model_dump gives asterisks
    return {
        f"ANYSOUND_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }


def listening(host: str, port: int) -> socket.socket:
    """A listening socket that API processes share. `::` accepts IPv4 too. Raises OSError naming the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048, dualstack_ipv6=both)
    except OSError as error:
        raise OSError(
            error.errno, f"cannot listen on {url_host(host)}:{port}: {os.strerror(error.errno or 0)}"
        ) from None
    listener.setblocking(False)
    return listener


def url_host(host: str) -> str:
    """The host in the form that URLs need."""
    return f"[{host}]" if ":" in host else host


def with_checkpoint(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """`settings` with a hub id replaced by its directory. Ends the process if it cannot be downloaded or converted.

    This runs in a process of its own, so that its memory is freed before the service starts.
    """
    if Path(settings.model).exists():
        return settings
    log.info("looking for %s", settings.model)
    command = module("model.hub", settings.model)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment})  # noqa: S603
    if done.returncode != 0:
        raise SystemExit(FAILED)
    return settings.model_copy(update={"model": done.stdout.rstrip("\n")})


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the exit status. Raises OSError or ValueError that says why it cannot start."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(private_folder())
        settings = with_checkpoint(settings, user_environment(folder))
        listener = stack.enter_context(listening(settings.host, settings.port))
        metrics = None
        if settings.metrics_port is not None:
            metrics = stack.enter_context(listening(settings.host, settings.metrics_port))
        counts = SharedCounts(folder / "metrics", map(api_name, range(settings.api_processes)))
        stack.callback(counts.close)
        workers, apis = children(settings, folder, counts, listener, metrics)
        log.info("listening on http://%s:%d", url_host(settings.host), listener.getsockname()[1])

        def report(kind: str, wanted: int, ready: int) -> None:
            counts.set("anysound_processes", "Processes that the service consists of.", {"kind": kind}, wanted)
            counts.set("anysound_processes_ready", "Processes that are ready.", {"kind": kind}, ready)

        return Supervisor(workers, apis, settings.drain_s, report).run()


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler
    raise SystemExit(0)


def main(arguments: Sequence[str] = ()) -> int:
    """`anysound serve`. Returns the exit status."""
    settings = parse(arguments)
    forbid_inspection()
    logs.configure(settings.log_format)
    signal.signal(signal.SIGTERM, _stop)  # until the supervisor sets its own handler
    try:
        return run(settings)
    except (NoFolder, ValueError) as error:
        log.error("%s", error)
    except OSError as error:
        log.error("%s", error.strerror or error)
    return FAILED
