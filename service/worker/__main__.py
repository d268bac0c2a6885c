"""The worker process. `python -m service.worker --help`."""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

from model.memory import keep_freed_memory
from service import lifeline
from service.inspection import forbid_inspection
from service.niceness import yield_to_others
from service.observe import logs
from service.worker.compute import kinds_of_threads, warm_up
from service.worker.wait_estimate import QueueLimits
from service.worker.worker import Worker

log = logging.getLogger("anysound.worker")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="anysound-worker", description="Load a model and embed what API processes send."
    )
    parser.add_argument("--model", type=Path, help="checkpoint directory (default: the bundled checkpoint)")
    parser.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    parser.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="of the audio encoder")
    parser.add_argument("--endpoint", required=True, help="ipc:// address to listen on")
    parser.add_argument(
        "--max-batch-seconds", type=float, default=QueueLimits.batch_seconds, help="most audio in one batch"
    )
    parser.add_argument(
        "--max-queue-seconds", type=float, default=QueueLimits.queue_seconds, help="most audio that may wait"
    )
    parser.add_argument("--stats-file", type=Path, help="where counters are kept across restarts")
    parser.add_argument("--restarts", type=int, default=0, help="how often this worker was restarted")
    parser.add_argument(
        "--lifeline", type=int, help="descriptor of the heartbeat socket; the worker exits when its other end is closed"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Load the model and serve it. Returns the exit status: EX_CONFIG if the checkpoint cannot be used."""
    options = parser().parse_args(arguments)
    forbid_inspection()
    keep_freed_memory()
    yield_to_others()
    began = time.monotonic()
    heartbeat = None if options.lifeline is None else lifeline.attach(options.lifeline)
    from model.checkpoint import DEFAULT, CheckpointError
    from model.engine import Engine

    try:
        engine = Engine(options.model or DEFAULT, options.device, options.dtype)
    except CheckpointError as error:
        log.critical("%s", error)
        return os.EX_CONFIG
    limits = QueueLimits(
        batch_seconds=min(options.max_batch_seconds, engine.batch_windows * engine.info.config.front_end.window_s),
        batch_windows=engine.batch_windows,
        mixed_windows=engine.mixed_windows,
        queue_seconds=options.max_queue_seconds,
    )
    worker = Worker(
        engine,
        options.endpoint,
        limits,
        threads=kinds_of_threads(engine.streams, engine.device.type),
        stats_file=options.stats_file,
        restarts=options.restarts,
    )
    warm_up(engine, worker.queue.estimate, worker.window_s)
    worker.startup_s = time.monotonic() - began
    log.info("%s is ready on %s after %.1f s", engine.info.config.name, engine.device, worker.startup_s)
    worker.serve(heartbeat)
    return 0


if __name__ == "__main__":
    logs.configure(os.environ.get("ANYSOUND_LOG_FORMAT", "text"))
    status = main()
    logging.shutdown()
    os._exit(status)  # compute threads may be inside the model, which the end of the interpreter would abort
