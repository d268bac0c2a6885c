"""`anysound serve`: a worker for each device, and API processes that share one listening socket."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from service.devices import devices
from service.processes import Child, Supervisor, module
from service.settings import Settings, parse

log = logging.getLogger("anysound.supervisor")


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """A directory that only this user can enter, for sockets and counters; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="anysound-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def children(settings: Settings, folder: Path, listener: socket.socket) -> tuple[list[Child], list[Child]]:
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
                *(() if settings.model is None else ("--model", str(settings.model))),
                *("--device", names[number]),
                *("--endpoint", endpoints[number]),
                *("--max-batch-seconds", str(settings.max_batch_seconds)),
                *("--max-queue-seconds", str(settings.max_queue_seconds)),
                *("--stats-file", str(folder / f"worker-{number}.json")),
                *("--restarts", str(restarts)),
            )

        return Child(f"worker {number} on {names[number]}", command, environment=environment)

    def api(number: int) -> Child:
        def command(_: int) -> list[str]:
            return module("service.server", "--listener", str(listener.fileno()), *endpoints)

        return Child(
            f"API process {number}",
            command,
            (listener.fileno(),),
            {**environment, "PROMETHEUS_MULTIPROC_DIR": str(metrics)},
            mourn=lambda pid: mark_process_dead(pid, str(metrics)),  # type: ignore[no-untyped-call]
        )

    return [worker(number) for number in range(len(names))], [api(number) for number in range(settings.api_processes)]


def settings_environment(settings: Settings) -> dict[str, str]:
    """The variables that make a child read the same settings, whatever flags this process was given."""
    values = settings.model_dump(mode="json", exclude_none=True)
    return {
        f"ANYSOUND_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }


def listening(host: str, port: int) -> socket.socket:
    """The socket all API processes accept from. Raises OSError where the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=2048)
    listener.setblocking(False)
    return listener


def main(arguments: Sequence[str] = ()) -> int:
    """`anysound serve`. Returns the exit status."""
    settings = parse(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        listener = listening(settings.host, settings.port)
    except OSError as error:
        log.error("cannot listen on %s:%d: %s", settings.host, settings.port, error.strerror)
        return 1
    with listener, private_folder() as folder:
        workers, apis = children(settings, folder, listener)
        log.info("listening on http://%s:%d", settings.host, listener.getsockname()[1])
        return Supervisor(workers, apis, settings.drain_s).run()
