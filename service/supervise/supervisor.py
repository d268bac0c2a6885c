"""`anysound serve`: a worker for each device, and API processes that share one listening socket."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from service.observe import logs
from service.settings import Settings, parse
from service.supervise.devices import devices
from service.supervise.processes import Child, Supervisor, module

log = logging.getLogger("anysound.supervisor")

THREADS = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive")}
"""Idle compute threads sleep. Spinning ones, OpenMP's default, starve the decoders and API processes they share cores
with, and each other: with all cores busy a forward pass took 30 times as long."""


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A directory that only this user can enter, for sockets and counters; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="anysound-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def children(
    settings: Settings, folder: Path, listener: socket.socket, metrics_listener: socket.socket | None
) -> tuple[list[Child], list[Child]]:
    """The workers, one a device, and the API processes that these settings ask for."""
    names = devices(settings.device)
    endpoints = [f"ipc://{folder}/worker-{number}" for number in range(len(names))]
    environment = settings_environment(settings)
    metrics = folder / "metrics"  # each API process counts there, so that any of them can be asked for the sums
    metrics.mkdir()

    def worker(number: int) -> Child:
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

        return Child(f"worker {number} on {names[number]}", command, environment={**THREADS, **environment})

    listeners = ["--listener", str(listener.fileno())]
    descriptors: tuple[int, ...] = (listener.fileno(),)
    if metrics_listener is not None:
        listeners += ["--metrics-listener", str(metrics_listener.fileno())]
        descriptors += (metrics_listener.fileno(),)

    def api(number: int) -> Child:
        def command(_: int) -> list[str]:
            return module("service.api.server", *listeners, "--folder", str(folder), *endpoints)

        return Child(
            f"API process {number}",
            command,
            descriptors,
            {**environment, "PROMETHEUS_MULTIPROC_DIR": str(metrics)},
            on_exit=lambda pid: mark_process_dead(pid, str(metrics)),
        )

    return [worker(number) for number in range(len(names))], [api(number) for number in range(settings.api_processes)]


def settings_environment(settings: Settings) -> dict[str, str]:
    """The variables that make a child read the same settings, whatever flags this process was given."""
    values = settings.model_dump(mode="json", exclude_none=True)
    if settings.redis_url is not None:
        values["redis_url"] = settings.redis_url.get_secret_value()  # a dump holds asterisks
    return {
        f"ANYSOUND_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }


def listening(host: str, port: int) -> socket.socket:
    """A socket all API processes accept from. Raises OSError, saying where, for an address taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}") from None
    listener.setblocking(False)
    return listener


def with_checkpoint(settings: Settings) -> Settings:
    """`settings` with a hub id replaced by its directory. Ends the process, one line said, where it cannot be had.

    Fetching and converting run in a process of their own: their memory is given back before the service starts.
    """
    if Path(settings.model).exists():
        return settings
    log.info("looking for %s", settings.model)
    done = subprocess.run(module("model.hub", settings.model), stdout=subprocess.PIPE, text=True)  # noqa: S603
    if done.returncode != 0:
        raise SystemExit(1)
    return settings.model_copy(update={"model": done.stdout.rstrip("\n")})


def main(arguments: Sequence[str] = ()) -> int:
    """`anysound serve`. Returns the exit status."""
    settings = parse(arguments)
    logs.configure(settings.log_format)
    settings = with_checkpoint(settings)
    with contextlib.ExitStack() as stack:
        try:
            listener = stack.enter_context(listening(settings.host, settings.port))
            metrics_listener = (
                None
                if settings.metrics_port is None
                else stack.enter_context(listening(settings.host, settings.metrics_port))
            )
        except OSError as error:
            log.error("%s", error.strerror)
            return 1
        folder = stack.enter_context(private_folder())
        workers, apis = children(settings, folder, listener, metrics_listener)
        log.info("listening on http://%s:%d", settings.host, listener.getsockname()[1])
        return Supervisor(workers, apis, settings.drain_s).run()
