"""The measured systems: this service, and its peers, each in a virtual environment of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from benchmarks.labels import LABELS
from benchmarks.load import Body, Target
from benchmarks.measurement import roles, tree, wait_until
from benchmarks.tuning import Settings
from model.cores import cores
from service.supervise.supervisor import worker_threads

QUERY = urlencode([("labels", label) for label in LABELS])
PEERS = Path(__file__).parent / "peers"
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class Running:
    """A running system that answers at `target`. `pid` is its root process."""

    name: str
    target: Target
    pid: int

    def processes(self) -> dict[str, list[int]]:
        return roles(self.pid) if self.name == "anysound" else {"all": tree(self.pid)}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


@contextmanager
def started(name: str, command: Sequence[str | Path], health: str, target: Target, log: Path) -> Iterator[Running]:
    """Run a system, from its first answer to the end of the context. Raises RuntimeError if it exits by itself."""
    log.parent.mkdir(parents=True, exist_ok=True)
    # Peers get passive waiting too: on a busy machine it matters more than anything else here.
    environment = {**os.environ, **worker_threads(), "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            list(map(str, command)), stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=PEERS.parents[1]
        )
    try:

        def ready() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended: {log.read_text()[-2000:]}")
            return answers(f"http://{target.host}:{target.port}{health}")

        wait_until(ready, f"{name}'s start")
        yield Running(name, target, process.pid)
    finally:
        children = tree(process.pid)[1:]
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for child in children:  # what a peer leaves behind
            try:
                os.kill(child, 9)
            except ProcessLookupError:
                continue


@contextmanager
def anysound(model: Path | None, log: Path, *flags: str, cgroup: Path | None = None) -> Iterator[Running]:
    """This service, as started by `anysound serve`, without the audio cache; in a control group if one is given."""
    port = free_port()
    command = [sys.executable, "-m", "anysound", "serve", "--port", str(port), "--audio-cache-bytes", "0", *flags]
    command += [] if model is None else ["--model", str(model)]
    if cgroup is not None:
        command = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(cgroup), *command]
    target = Target("127.0.0.1", port, f"/v1/classify?{QUERY}")
    with started("anysound", [*command, "--log-format", "text"], "/readyz", target, log) as running:
        yield running


@dataclass(frozen=True)
class Peer:
    """Another system, and the form of its requests."""

    name: str
    path: str
    body: Body
    health: str
    batches: tuple[int, ...]
    first_batch: int
    """What its documentation suggests. The search begins there."""
    workers: tuple[int, ...]
    dtypes: tuple[str, ...] = DTYPES

    @contextmanager
    def serving(self, model: Path, environments: Path, log: Path, settings: Settings, dtype: str) -> Iterator[Running]:
        python = self.environment(environments)
        port = free_port()
        if self.name == "infinity":
            # Its other engines have no audio models. Its default precision is float32 on a CPU.
            command: list[str | Path] = [python.parent / "infinity_emb", "v2", "--model-id", model, "--device", "cpu"]
            command += ["--served-model-name", "clap", "--engine", "torch", "--no-model-warmup", "--port", str(port)]
            command += ["--host", "127.0.0.1", "--batch-size", str(settings.batch)]
        else:
            command = [python, PEERS / f"{self.name}.py", model, str(port), str(settings.batch)]
            command += [str(settings.workers), dtype]
        kind = "audio/wav" if self.body == "raw" else "application/json"
        target = Target("127.0.0.1", port, self.path, self.body, kind)
        with started(self.name, command, self.health, target, log) as running:
            yield running

    def environment(self, folder: Path) -> Path:
        """The interpreter of the peer's own virtual environment, which is created if it is absent or its requirements
        have changed.

        What the peer does not ask for in another version (torch above all) is taken from ours: so all run the same.
        """
        place = folder / self.name
        python = place / "bin" / "python"
        done = place / ".done"
        requirements = PEERS / f"{self.name}.txt"
        if not done.exists() or done.read_text() != requirements.read_text():
            shutil.rmtree(place, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", place], check=True)
            ours = sysconfig.get_paths()["purelib"]
            theirs = next((place / "lib").glob("python*/site-packages"))
            (theirs / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "-r", str(requirements)], check=True)
            done.write_text(requirements.read_text())
        return python


WORKERS = tuple(sorted({1, cores()}))
PIPELINE = Peer("transformers_pipeline", f"/classify?{QUERY}", "raw", "/health", (1,), 1, WORKERS)
LITSERVE = Peer("litserve_batching", "/predict", "litserve", "/health", (2, 4, 8, 16, 32), 8, WORKERS)
INFINITY = Peer("infinity", "/embeddings", "infinity", "/health", (2, 4, 8, 16, 32), 32, (1,), ("float32",))
ALL_PEERS = (LITSERVE, INFINITY, PIPELINE)
