"""`anysound bench`: the service, the bare model and other servers under closed-loop, open-loop and overload traffic."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks import recordings, weights
from benchmarks.bare import Bare, Pace
from benchmarks.comparison import compare
from benchmarks.load import Plan
from benchmarks.measurement import Measurement, measure, resident_mib, tree
from benchmarks.report import Check, Report
from benchmarks.systems import ALL_PEERS, DTYPES, Peer, Running, anysound
from benchmarks.tuning import Kept, Settings, Tried, described, search

ROOT = Path(__file__).parents[1]
CLIENTS = (1, 8, 32, 128)
SATURATED = 32
"""With fewer clients than this, the service may have nothing to do at times."""
RATES = (0.25, 0.5, 0.75, 0.9, 1.0, 1.25)
"""Offered loads, as fractions of the peak throughput."""
WORKS = ("forward", "wav")
"""What the service is compared with: the bare model, and the bare pipeline on the same clips."""
PARTS = ("closed", "formats", "offered", "overload", "peers", "memory")
PEERS = tuple(peer.name for peer in ALL_PEERS)
WIDTH = 170
CD_RATE = 44_100
CLAP_RATE = 48_000
"""Infinity accepts recordings only at its model's rate, so every server of the ClapModel gets that rate."""
PEER_PROBE_S, PEER_SEARCH_S = 5.0, 100.0
"""Duration of a probe of the search for a peer's best settings, and of the whole search, with its starts."""
PEER_CLIENTS = 32
"""Load of these probes."""


@dataclass(frozen=True)
class Options:
    parts: tuple[str, ...]
    models: tuple[str, ...]
    peers: tuple[str, ...]
    clients: tuple[int, ...]
    seconds: float
    minutes: float
    clips: Path
    out: Path
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Paired:
    """The service at one load, and the bare works beside it: at their best, and with a single clip."""

    service: Measurement
    bare: dict[str, Pace]
    alone: dict[str, Pace]


def mean(before: Pace, after: Pace) -> Pace:
    """The pace of two runs together."""
    pairs = ((getattr(before, name), getattr(after, name)) for name in ("clips_s", "p50", "cpu_ms"))
    return Pace(before.batch, before.streams, *map(statistics.mean, pairs))


class Bench:
    """One run of the benchmark, with a method per part."""

    def __init__(self, options: Options, console: Console) -> None:
        self.options = options
        self.console = console
        self.report = Report()
        self.cache = options.out / "cache"
        self.kept = Kept(self.cache / "settings.json")
        self.clips = recordings.prepare(options.clips, self.cache / "clips")
        self.clips_48k = recordings.prepare(options.clips, self.cache / "clips-48k", CLAP_RATE)

    def model(self, name: str) -> Path | None:
        """The checkpoint directory of `cnn14` or `clap`; None for `bundled`."""
        if name == "bundled":
            return None
        if name == "cnn14":
            return weights.cnn14(self.cache / name)
        return weights.clap_checkpoint(self.cache / "clap-imported", self.clap_model())

    def clap_model(self) -> Path:
        """The transformers directory that the peers serve."""
        return weights.clap_model(self.cache / "clap")

    def say(self, text: str) -> None:
        self.console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {text}", highlight=False)

    def note(self, measurement: Measurement) -> Measurement:
        self.report.measurements.append(measurement)
        self.report.save(self.options.out)
        load = f"{measurement.level:.4g} {'clients' if measurement.mode == 'closed' else 'per second'}"
        refused = f", {measurement.refused} refused" if measurement.refused else ""
        self.say(
            f"{measurement.model} {measurement.system} {load}: {measurement.clips_s:.1f} clips/s, "
            f"p50 {measurement.p50:.1f} ms, p99 {measurement.p99:.1f} ms{refused}, CPU per clip "
            + ", ".join(f"{role} {value:.2f}" for role, value in measurement.cpu_ms.items())
        )
        return measurement

    def bare(self, name: str, work: str, pace: Pace) -> None:
        """Report the pace of the bare model (`forward`) or of the bare pipeline, which is named by its format."""
        nan = float("nan")
        system = "bare model" if work == "forward" else f"bare pipeline, {work}"
        row = Measurement(system, name, "bare", pace.batch, 0, 0, 0, 0, pace.clips_s, pace.p50, nan, nan, nan, nan)
        self.report.measurements.append(Measurement(**{**vars(row), "cpu_ms": {"all": pace.cpu_ms}}))
        what = f"{name} {system}, {pace.streams} x batch {pace.batch}"
        self.say(
            f"{what}: {pace.clips_s:.1f} clips/s, {pace.p50:.1f} ms per batch, {pace.cpu_ms:.2f} ms of CPU per clip"
        )

    def best(self, owner: str, found: Callable[[], list[Tried]]) -> Settings:
        """The best settings of `owner` on this machine, which are searched for if they are not known."""
        about = self.report.machine
        owner = f"{owner}, {about['cpu']}, {about['cores']} cores, torch {about['torch']}"
        tried = self.kept.of(owner, found)
        self.report.notes.append(f"{owner}: {described(tried)}")
        self.say(self.report.notes[-1])
        return tried[0].settings

    def check(self, what: str, measured: str, wanted: str, holds: bool) -> None:
        self.report.checks.append(Check(what, measured, wanted, holds))

    def plan(self, running: Running, name: str, seconds: float | None = None, **level: float) -> Plan:
        seconds = seconds or self.options.seconds
        warm_up = min(max(1.0, seconds / 4), 10.0)
        clips = self.clips_48k if name.startswith("clap") else self.clips
        return Plan(running.target, clips, seconds, warm_up, **level)  # type: ignore[arg-type]

    def load(self, running: Running, name: str, seconds: float | None = None, **level: float) -> Measurement:
        plan = self.plan(running, name, seconds, **level)
        return self.note(measure(running.name, name, plan, running.processes))

    def run(self) -> None:
        options = self.options
        for name in options.models:
            if {"closed", "offered", "overload"} & set(options.parts):
                self.service(name)
            if "formats" in options.parts:
                self.formats(name)
        if "peers" in options.parts:
            self.peers()
        if "memory" in options.parts:
            self.memory(options.models[0])
        self.report.save(options.out)

    def service(self, name: str) -> None:
        """The service in the precision that it chooses, and, if that is another one, in float32."""
        model = self.model(name)
        with Bare(model, self.clips) as bare:
            self.beside_bare(bare, name, model)
        if bare.dtype != "float32":
            with Bare(model, self.clips, "float32") as exact:
                self.beside_bare(exact, name, model, only_closed=True)

    def beside_bare(self, bare: Bare, name: str, model: Path | None, only_closed: bool = False) -> None:
        """The service, the bare model and the bare pipeline by turns, so that noise on the machine affects all."""
        options = self.options
        label = f"{name}, {bare.dtype}"
        best = self.best(f"bare model, {label}", lambda: bare.tried("forward"))
        log = options.out / f"{name}-{bare.dtype}.log"
        with anysound(model, log, "--dtype", bare.dtype, *options.flags) as running:
            self.load(running, label, 1.0, clients=8)  # whatever is set up lazily
            self.report.measurements.pop()
            paired = {clients: self.beside(bare, best, running, label, clients) for clients in options.clients}
            for work in WORKS:
                self.bare(label, work, paired[max(options.clients)].bare[work])
            self.judge(label, paired)
            peak = max(each.service.clips_s for each in paired.values())
            if "offered" in options.parts and not only_closed:
                for part in RATES:
                    self.load(running, label, rate=part * peak)
            if "overload" in options.parts and not only_closed:
                self.overload(label, running)

    def beside(self, bare: Bare, best: Settings, running: Running, label: str, clients: int) -> Paired:
        """One load on the service, between two runs of each bare work at its best, and of a single clip."""
        part_s = self.options.seconds / 4

        def run() -> dict[str, Pace]:
            return {work: bare.pace(work, best.batch, best.workers, part_s) for work in WORKS}

        before = run()
        alone = {work: bare.pace(work, 1, 1, part_s) for work in WORKS}
        measured = self.load(running, label, clients=clients)
        after = run()
        return Paired(measured, {work: mean(before[work], after[work]) for work in WORKS}, alone)

    def judge(self, name: str, paired: dict[int, Paired]) -> None:
        """The targets for the cost of everything that surrounds the model."""
        full = [each for clients, each in paired.items() if clients >= SATURATED]
        if full:
            least = 0.92 if name.startswith("cnn14") else 0.75
            saturated = max(each.service.clips_s / each.bare["wav"].clips_s for each in full)
            over_model = max(each.service.clips_s / each.bare["forward"].clips_s for each in full)
            what = f"{name}: saturated clips/s over the bare pipeline's"
            self.check(what, f"{saturated:.2f}", f"{least}", saturated >= least)
            self.report.notes.append(f"{name}: saturated clips/s over the bare model's: {over_model:.2f}")
        if 32 in paired:
            each = paired[32]
            ratio = each.service.total_ms / each.bare["wav"].cpu_ms
            what = f"{name}: CPU time per clip over the bare pipeline's, 32 clients"
            self.check(what, f"{ratio:.2f}", "1.4 at most", ratio <= 1.4)
            roles = each.service.cpu_ms
            surrounding = roles.get("api", 0.0) + roles.get("decode", 0.0)
            what = f"{name}: CPU time per clip of API and decoders, 32 clients"
            self.check(what, f"{surrounding:.1f} ms", "2.0 ms at most", surrounding <= 2.0)
            self.report.notes.append(
                f"{name}: CPU time per clip above the bare model's, 32 clients: "
                f"{each.service.total_ms - each.bare['forward'].cpu_ms:.1f} ms; the load generator's, which shares the "
                f"cores: {each.service.generator_ms:.1f} ms"
            )
        if 1 in paired:
            each = paired[1]
            added = each.service.p50 - each.alone["forward"].p50
            what = f"{name}: p50 at one client over the bare clip"
            self.check(what, f"+ {added:.1f} ms", "+ 6 ms at most", added <= 6)

    def formats(self, name: str) -> None:
        """CPU time per clip by role at 32 clients, beside the bare pipeline's, for each format of the recordings."""
        options = self.options
        model = self.model(name)
        folder = self.cache / "clips-44k"
        clips = recordings.prepare(options.clips, folder, CD_RATE, kinds=tuple(recordings.FORMATS))
        with ExitStack() as stack:
            bare = stack.enter_context(Bare(model, clips))
            running = stack.enter_context(anysound(model, options.out / f"{name}-formats.log", *options.flags))
            best = self.best(f"bare model, {name}, {bare.dtype}", lambda: bare.tried("forward"))
            for kind in recordings.FORMATS:
                sent = [clip for clip in clips if clip.endswith(f".{kind}")]
                before = bare.pace(kind, best.batch, best.workers, options.seconds / 4)
                plan = Plan(running.target, sent, options.seconds, 1.0, clients=32)
                measured = self.note(measure(running.name, f"{name}, {kind}", plan, running.processes))
                after = bare.pace(kind, best.batch, best.workers, options.seconds / 4)
                least = mean(before, after)
                self.bare(f"{name}, {kind}", kind, least)
                self.report.notes.append(
                    f"{name}, {kind}: over the bare pipeline's, CPU time per clip is "
                    f"{measured.total_ms / least.cpu_ms:.2f}, clips/s are {measured.clips_s / least.clips_s:.2f}"
                )

    def overload(self, name: str, running: Running) -> None:
        """Twice the peak load: the service must keep its peak throughput and refuse the rest quickly."""
        peak = self.load(running, name, clients=32)
        over = self.load(running, name, rate=2 * peak.clips_s)
        again = self.load(running, name, clients=32)
        ratio = over.clips_s / statistics.mean((peak.clips_s, again.clips_s))
        self.check(f"{name}: goodput at twice its load, over its peak", f"{ratio:.2f}", "0.95", ratio >= 0.95)
        self.check(
            f"{name}: refusals answered within", f"p50 {over.refusal_p50:.0f}, p99 {over.refusal_p99:.0f} ms", "50 ms",
            over.refusal_p99 <= 50,
        )  # fmt: skip
        if over.failed:
            self.check(f"{name}: failed under overload", str(over.failed), "0", False)

    def peers(self) -> None:
        """All systems serve one ClapModel, one after the other, so that they do not compete for cores.

        Float32 is compared with float32. What each reaches in bfloat16, where it offers that, is reported too.
        """
        model = self.clap_model()
        checkpoint = self.model("clap")
        log = self.options.out / "anysound-clap.log"
        ours: dict[str, dict[int, Measurement]] = {}
        for dtype in DTYPES:
            with anysound(checkpoint, log, *self.options.flags, "--dtype", dtype) as running:
                ours[dtype] = self.each(running, dtype)
        for peer in (each for each in ALL_PEERS if each.name in self.options.peers):
            try:
                settings = self.best(f"{peer.name}, clap", lambda peer=peer: self.tried(peer, model))  # type: ignore[misc]
                for dtype in peer.dtypes:
                    with self.serving(peer, model, settings, dtype) as running:
                        theirs = self.each(running, dtype)
                    if dtype == "float32":
                        self.against(peer.name, ours[dtype], theirs)
            except (OSError, RuntimeError, TimeoutError, subprocess.CalledProcessError) as error:
                self.report.notes.append(f"{peer.name} could not be measured: {error}")
                self.say(self.report.notes[-1])

    def against(self, peer: str, ours: dict[int, Measurement], theirs: dict[int, Measurement]) -> None:
        """The targets for one peer: more clips per second, and sooner, at 32 clients."""
        at = 32 if 32 in ours else max(ours)
        faster = ours[at].clips_s / max(theirs[at].clips_s, 1e-9)
        wanted = 4.0 if peer == "transformers_pipeline" else 1.0
        self.check(f"clips/s over {peer}, {at} clients", f"{faster:.1f}x", f"{wanted:.0f}x", faster >= wanted)
        sooner = f"{ours[at].p99:.0f} against {theirs[at].p99:.0f} ms"
        self.check(f"p99 against {peer}, {at} clients", sooner, "ahead", ours[at].p99 < theirs[at].p99)

    def serving(self, peer: Peer, model: Path, settings: Settings, dtype: str) -> AbstractContextManager[Running]:
        self.say(f"starting {peer.name}, {settings}, {dtype}")
        log = self.options.out / f"{peer.name}-clap.log"
        return peer.serving(model, self.cache / "venvs", log, settings, dtype)

    def tried(self, peer: Peer, model: Path) -> list[Tried]:
        """Search for the best settings of a peer, in float32. Each probe starts it anew."""

        def clips_s(settings: Settings) -> float:
            with self.serving(peer, model, settings, "float32") as running:
                plan = Plan(running.target, self.clips_48k, PEER_PROBE_S, PEER_PROBE_S / 2, clients=PEER_CLIENTS)
                return measure(running.name, "clap", plan, running.processes).clips_s

        return search(clips_s, peer.batches, peer.first_batch, peer.workers, PEER_SEARCH_S)

    def each(self, running: Running, dtype: str) -> dict[int, Measurement]:
        """Measure a server of the ClapModel at every number of clients."""
        label = f"clap, {dtype}"
        self.load(running, label, 2.0, clients=2)
        self.report.measurements.pop()
        seconds = 2 * self.options.seconds  # some of them take seconds for an answer
        return {clients: self.load(running, label, seconds, clients=clients) for clients in self.options.clients}

    def memory(self, name: str) -> None:
        """Resident memory at full load: after 2 minutes (or a tenth of the time), and at the end."""
        minutes = self.options.minutes
        first = min(2.0, minutes / 10)
        with anysound(self.model(name), self.options.out / "memory.log", *self.options.flags) as running:
            self.load(running, name, 60 * first, clients=32)
            early = resident_mib(tree(running.pid))
            self.load(running, name, 60 * (minutes - first), clients=32)
            late = resident_mib(tree(running.pid))
        growth = late / early - 1
        self.check(
            f"{name}: memory after {minutes:g} min over that after {first:g} min",
            f"{early:.0f} to {late:.0f} MiB, {growth:+.1%}", "within 3 %", growth <= 0.03,
        )  # fmt: skip


def command_line() -> argparse.ArgumentParser:
    """The options of `anysound bench`."""
    parser = argparse.ArgumentParser(prog="anysound bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one minute: the bundled checkpoint, 1 and 32 clients")
    parser.add_argument("--parts", default="closed,formats,offered,overload,peers", help=", ".join(PARTS))
    parser.add_argument("--models", default="bundled,cnn14", help="bundled, cnn14, clap")
    parser.add_argument("--peers", default=",".join(PEERS), help="those that the part `peers` measures")
    parser.add_argument("--clients", default=",".join(map(str, CLIENTS)))
    parser.add_argument("--seconds", type=float, default=10.0, help="duration of each measurement")
    parser.add_argument("--minutes", type=float, default=20.0, help="duration of the part `memory`")
    parser.add_argument("--clips", type=Path, default=ROOT / "examples", help="folder of recordings")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--serve", default="", help="further options of `anysound serve`, in one string")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("OLD", "NEW"), help="compare two results.json")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command_line()
    given = parser.parse_args(arguments)
    if given.compare:
        try:
            table = compare(*given.compare)
        except (ValueError, OSError) as error:
            parser.error(str(error))
        Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
        return 0
    parts = ("closed", "overload") if given.quick else tuple(given.parts.split(","))
    if unknown := set(parts) - set(PARTS):
        parser.error(f"unknown part {sorted(unknown)[0]}: there are {', '.join(PARTS)}")
    models = ("bundled",) if given.quick else tuple(given.models.split(","))
    if unknown := set(models) - {"bundled", "cnn14", "clap"}:
        parser.error(f"unknown model {sorted(unknown)[0]}: there are bundled, cnn14, clap")
    peers = tuple(given.peers.split(","))
    if unknown := set(peers) - set(PEERS):
        parser.error(f"unknown peer {sorted(unknown)[0]}: there are {', '.join(PEERS)}")
    clients = (1, 32) if given.quick else tuple(map(int, given.clients.split(",")))
    seconds = min(given.seconds, 4.0) if given.quick else given.seconds
    options = Options(
        parts, models, peers, clients, seconds, given.minutes, given.clips, given.out, tuple(given.serve.split())
    )
    console = Console(stderr=True, soft_wrap=True)
    try:
        bench = Bench(options, console)
    except FileNotFoundError as error:
        parser.error(str(error))
    bench.run()
    bench.report.show(Console(width=None if sys.stdout.isatty() else WIDTH))
    console.print(f"written to {options.out}/results.json, .txt and .png")
    return 0 if all(check.holds for check in bench.report.checks) else 1


if __name__ == "__main__":
    sys.exit(main())
