"""Bulk runs against the bare pipeline, under kills, with broken files, with hours of audio, and on two Ray nodes.

`python -m benchmarks.bulk speed broken kills hours ray`. Each part prints its figures. Speeds are by wall time and by
CPU time of all processes; CPU time tolerates other load on the machine.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import soundfile
from rich.console import Console

from benchmarks import recordings, weights
from benchmarks.broken import files
from benchmarks.measurement import resident_mib, tree
from benchmarks.pipeline import Pipeline as Bare
from bulk.cluster import Pool, cluster
from bulk.folder import SCORES, RunFolder
from bulk.labels import Labels
from bulk.local import Local, Plan
from bulk.run import run
from bulk.settings import ScoreSettings
from bulk.setup import ReaderSetup
from bulk.sources import expand
from model.checkpoint import DEFAULT
from model.classify import LabelEmbeddings
from model.config import FrontEndConfig
from model.cores import cores
from model.engine import Engine
from model.info import ModelInfo
from model.memory import keep_freed_memory
from model.prompts import Embeddings, Label

ROOT = Path(__file__).parents[1]
NAMES = ("a dog", "rain", "a person talking", "music", "an engine", "a bell", "birdsong", "a door")
PARTS = ("speed", "broken", "kills", "hours", "ray")
out = Console(markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Took:
    """Wall and CPU seconds of some work, by this process and the children that have ended."""

    wall_s: float
    cpu_s: float


def timed(work: Callable[[], object]) -> Took:
    def cpu() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in used)

    began, before = time.perf_counter(), cpu()
    work()
    return Took(time.perf_counter() - began, cpu() - before)


def copies(clips: Sequence[str], folder: Path, count: int) -> list[str]:
    """`count` files, each a hard link to one of `clips`."""
    folder.mkdir(parents=True)
    paths = [folder / f"{number:05d}{Path(clips[0]).suffix}" for number in range(count)]
    for number, path in enumerate(paths):
        os.link(clips[number % len(clips)], path)
    return list(map(str, paths))


def settings_of(info: ModelInfo) -> ScoreSettings:
    template = info.config.prompts.template
    return ScoreSettings(
        *(info.config.name, info.fingerprint, NAMES, "", template, "softmax", None, False, "long", False, None, None),
        max_seconds=86_400.0,
    )


def bulk(engine: Engine, paths: Sequence[str], folder: Path) -> None:
    """A whole run but for loading the model: readers start, parts are written."""
    labels = Labels(tuple(map(Label, NAMES)), None, {})
    plan = Plan(settings_of(engine.info), labels, ReaderSetup.of(engine.info.config.front_end), cores())
    quiet = Console(file=Path(os.devnull).open("w"))  # noqa: SIM115
    with RunFolder(folder, plan.settings) as run_folder, Local(engine, plan, labels.embed(engine)) as local:
        run(list(expand(paths)), local.score, run_folder, quiet)


def bare(engine: Engine, paths: Sequence[str]) -> None:
    """Read, resample, forward and score in a loop on every core."""
    pipeline = Bare(engine, NAMES)
    step = engine.batch_windows
    batches = [paths[at : at + step] for at in range(0, len(paths), step)]
    with ThreadPoolExecutor(engine.streams) as threads:
        list(threads.map(lambda batch: pipeline.scores([Path(path).read_bytes() for path in batch]), batches))


def speed(clips: Sequence[str], models: Sequence[str], count: int, rounds: int, work: Path) -> None:
    for name in models:
        engine = Engine(weights.cnn14(Path("runs/bench/cache/cnn14")) if name == "cnn14" else DEFAULT)
        number = count if name == "bundled" else max(32, count // 20)
        paths = copies(clips, work / f"in-{name}", number)
        bare(engine, paths[:32])
        walls, cpus = [], []
        for turn in range(rounds):
            ours = timed(partial(bulk, engine, paths, work / f"out-{name}-{turn}"))
            theirs = timed(partial(bare, engine, paths))
            walls.append(theirs.wall_s / ours.wall_s)
            cpus.append(theirs.cpu_s / ours.cpu_s)
            out.print(
                f"{name} ({engine.dtype}): {number:,} clips, bulk {number / ours.wall_s:.1f} clips/s, bare "
                f"{number / theirs.wall_s:.1f}; CPU ms per clip: bulk {1e3 * ours.cpu_s / number:.1f}, "
                f"bare {1e3 * theirs.cpu_s / number:.1f}"
            )
        wall, cpu = statistics.median(walls), statistics.median(cpus)
        out.print(f"{name}: clips/s over the bare pipeline, medians: {wall:.2f} by wall time, {cpu:.2f} by CPU time")


def broken(clips: Sequence[str], count: int, rounds: int, work: Path) -> None:
    """Every second file holds no recording, against the intact half alone."""
    engine = Engine(DEFAULT)
    good = copies(clips, work / "in-good", count // 2)
    bad = work / "in-bad"
    bad.mkdir()
    among = list(good)
    for number, data in enumerate(files(count - count // 2)):
        (bad / f"{number:05d}.wav").write_bytes(data)
        among.insert(2 * number, str(bad / f"{number:05d}.wav"))
    ratios = []
    for turn in range(rounds):
        alone = timed(partial(bulk, engine, good, work / f"out-good-{turn}"))
        mixed = timed(partial(bulk, engine, among, work / f"out-mixed-{turn}"))
        ratios.append((mixed.wall_s / alone.wall_s, mixed.cpu_s / alone.cpu_s))
        rows = pq.read_table(work / f"out-mixed-{turn}" / SCORES).select(["path", "error", "reason"]).to_pylist()
        said = Counter(row["reason"] for row in rows if row["error"] and row["reason"])
        assert said.total() == len({row["path"] for row in rows if row["error"]}) == count - count // 2, said
        out.print(f"{count:,} files, {said.total():,} rows with a reason: {dict(said)}")
    walls, cpus = (statistics.median(ratio[each] for ratio in ratios) for each in (0, 1))
    out.print(f"time with the broken files over that without, medians: {walls:.2f} by wall, {cpus:.2f} by CPU time")


def held(lock: Path) -> bool:
    """Whether a run has the lock of its folder: it has loaded its code, and is about to work."""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


PART = 25
"""Items per part of the runs that are killed."""


def kills(clips: Sequence[str], count: int, times: int, work: Path) -> None:
    """Kill a run at random places until it is done; every item must have its rows once."""
    paths = copies(clips, work / "in-kills", count)
    labels = work / "labels.txt"
    labels.write_text("\n".join(NAMES))
    folder = work / "out-kills"
    given = [str(work / "in-kills"), "--labels", str(labels), "--out", str(folder)]
    code = f"import bulk.run as r; r.PART_ITEMS = {PART}; from bulk.command import main; main({given!r})"
    chance, lost, doubled = random.Random(1), 0, 0

    def parts() -> int:
        return len(list(folder.glob("*/part*.parquet")))

    for number in range(times + 1):
        goal = parts() + chance.randrange(1 + 2 * count // (PART * times))
        with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL) as process:
            while number < times and process.poll() is None and not held(folder / ".lock"):
                time.sleep(0.05)
            if number < times:
                while process.poll() is None and parts() < goal:
                    time.sleep(0.01)
                time.sleep(chance.uniform(0.0, 0.5))
                process.send_signal(signal.SIGKILL)
        found = pq.read_table(folder / SCORES).column("path").to_pylist() if any(folder.glob("*/part*.parquet")) else []
        doubled += len(found) - len(NAMES) * len(set(found))
        ended = f"kill {number + 1}" if number < times else "the last run"
        out.print(f"after {ended}: {len(set(found))} items")
    lost = len(set(paths) - set(found))
    out.print(f"{times} kills: {lost} items lost, {doubled} rows doubled")


def hours(length_h: float, work: Path) -> None:
    """One recording of hours: the largest memory of all processes, and its speed beside that of clips of 5 s."""
    engine = Engine(DEFAULT)
    file = work / "hours.flac"
    noise = (0.1 * np.random.default_rng(0).standard_normal(44_100 * 60)).astype(np.float32)
    with soundfile.SoundFile(file, "w", 44_100, 1, format="FLAC", subtype="PCM_16") as sound:
        for minute in range(round(60 * length_h)):
            sound.write(np.roll(noise, 997 * minute))
    clip = work / "clip.flac"
    soundfile.write(clip, noise[: 44_100 * 5], 44_100)
    short = copies([str(clip)], work / "in-short", 400)
    most, ended = 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.wait(0.5):
            most = max(most, resident_mib(tree(os.getpid())))

    watcher = threading.Thread(target=watch)
    watcher.start()
    long = timed(partial(bulk, engine, [str(file)], work / "out-hours"))
    ended.set()
    watcher.join()
    clips = timed(partial(bulk, engine, short, work / "out-short"))
    out.print(f"{length_h:g} h: largest memory of all processes {most:.0f} MiB")
    out.print(
        f"seconds of audio per second: {3600 * length_h / long.wall_s:.0f}, of clips of 5 s {2000 / clips.wall_s:.0f}; "
        f"per CPU second: {3600 * length_h / long.cpu_s:.0f}, of clips {2000 / clips.cpu_s:.0f}"
    )


class Sleeping:
    """A model that takes half a second for a batch, and no CPU."""

    def __init__(self, info: ModelInfo) -> None:
        self.info, self.dim, self.streams, self.batch_windows = info, 8, 1, 8

    def embed_audio(self, windows: Sequence[Embeddings]) -> Embeddings:
        time.sleep(0.0625 * len(windows))
        return np.tile(np.eye(1, 8, dtype=np.float32), (len(windows), 1))


def sleeping(info: ModelInfo) -> Local:
    labels = Labels(tuple(map(Label, NAMES)), None, {})
    plan = Plan(settings_of(info), labels, ReaderSetup.of(info.config.front_end), 1)
    rows = np.eye(8, dtype=np.float32)
    embedded = LabelEmbeddings(rows, np.zeros_like(rows), np.zeros(8, np.bool_), rows[:1], np.zeros(8))
    return Local(Sleeping(info), plan, embedded)  # type: ignore[arg-type]


def ray(clips: Sequence[str], count: int, work: Path) -> None:
    """Ray with one node, and with two: raylets on this machine, and a model that sleeps."""
    from ray.cluster_utils import Cluster

    info = Engine(DEFAULT).info
    small = ModelInfo(
        info.config.model_copy(
            update={"front_end": FrontEndConfig(sample_rate=8_000, f_max=4_000, window_s=1, window_hop_s=1)}
        ),
        *(info.fingerprint, 10.0, "cpu", "float32"),
    )
    items = list(expand(copies(clips, work / "in-ray", count)))
    rates = []
    for nodes in (1, 2):
        local = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        for _ in range(nodes):
            local.add_node(num_cpus=1)
        with cluster(local.address, partial(sleeping, small), Pool(nodes, batch_items=16)) as score:
            ends = [(time.perf_counter(), done) for done, _ in enumerate(score(items, lambda: False), 1)]
        # Without the first quarter: actors start one after the other, and results wait for those before them.
        (first, before), (last, after) = ends[count // 4], ends[-1]
        rates.append((after - before) / (last - first))
        out.print(f"{nodes} nodes: {rates[-1]:.1f} items/s")
        local.shutdown()
    out.print(f"1 to 2 nodes: {rates[1] / rates[0]:.2f}x")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bulk", description=__doc__)
    parser.add_argument("parts", nargs="*", default=["speed", "broken", "kills", "hours"], help=", ".join(PARTS))
    parser.add_argument("--clips", type=Path, default=ROOT / "examples", help="folder of recordings")
    parser.add_argument("--count", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--models", default="bundled,cnn14")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown part {sorted(unknown)[0]}: there are {', '.join(PARTS)}")
    keep_freed_memory()
    work = Path(tempfile.mkdtemp(prefix="anysound-bulk-bench-"))
    try:
        clips = recordings.prepare(options.clips, work / "clips")
        every: dict[str, Callable[[], None]] = {
            "speed": lambda: speed(clips, options.models.split(","), options.count, options.rounds, work),
            "broken": lambda: broken(clips, options.count, options.rounds, work),
            "kills": lambda: kills(clips, min(options.count, 400), 10, work),
            "hours": lambda: hours(options.hours, work),
            "ray": lambda: ray(clips, 384, work),
        }
        for part in options.parts:
            every[part]()
    finally:
        shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(main())
