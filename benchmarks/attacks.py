"""Requests that would take the service down if nothing bounded them: `python -m benchmarks.attacks`.

Each attack runs against a fresh `anysound serve` with its default settings. Reported are what came back, the peak
resident memory of the API process and of the whole service, and the slowest of the probes of /livez that were sent
meanwhile. The run fails if the service needs more memory than the chart allows, a probe takes 250 ms, or a process
ends.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import httpx
import numpy as np
import soundfile
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.measurement import resident_mib, roles, tree
from benchmarks.systems import Running, anysound

MIB = 1 << 20
VALUES = Path(__file__).parents[1] / "k8s" / "anysound" / "values.yaml"
PROBE_LIMIT_S = 0.25
SAMPLE_S = 0.02
LONGEST_S = 599
"""Duration just below the limit of a clip."""

Ask = Callable[[httpx.Client], list[httpx.Response]]


def silence(seconds: float, rate: int = 8_000) -> bytes:
    """A FLAC of almost no bytes."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(round(seconds * rate), np.int16), rate, format="FLAC")
    return file.getvalue()


def many_at_once(
    requests: int, ask: Callable[[httpx.Client], httpx.Response], http: httpx.Client
) -> list[httpx.Response]:
    with ThreadPoolExecutor(requests) as clients:
        return list(clients.map(lambda _: ask(http), range(requests)))


def post(http: httpx.Client, document: bytes) -> httpx.Response:
    return http.post("/v1/classify", content=document, headers={"Content-Type": "application/json"})


def silent_hours(http: httpx.Client) -> list[httpx.Response]:
    """32 FLACs of silence, five hours of audio in half a megabyte."""
    clip = silence(LONGEST_S)
    files = [("audio", (f"{number}.flac", clip)) for number in range(32)]
    return [http.post("/v1/classify", files=files, data={"labels": ["dog", "cat"]})]


def silent_hours_four_times(http: httpx.Client) -> list[httpx.Response]:
    """The same from four clients at once."""
    return many_at_once(4, lambda http: silent_hours(http)[0], http)


def long_timeline(http: httpx.Client) -> list[httpx.Response]:
    """1,000 labels and the timeline of 32 clips of a minute."""
    clip = silence(60)
    files = [("audio", (f"{number}.flac", clip)) for number in range(32)]
    labels = json.dumps([f"the sound of thing number {number}" for number in range(1_000)])
    return [http.post("/v1/classify", files=files, data={"labels": labels, "timeline": "true"})]


def longest_allowed_answers(http: httpx.Client) -> list[httpx.Response]:
    """Eight answers near the limit of their size at once: 300 labels, the timeline of one clip of ten minutes."""
    clip = silence(LONGEST_S)
    labels = json.dumps([f"the sound of thing number {number}" for number in range(300)])

    def ask(http: httpx.Client) -> httpx.Response:
        return http.post("/v1/classify", files={"audio": ("a.flac", clip)}, data={"labels": labels, "timeline": "true"})

    return many_at_once(8, ask, http)


def large_json(http: httpx.Client) -> list[httpx.Response]:
    """Eight bodies of 63 MiB of JSON with base64 at once."""
    data = base64.b64encode(bytes(63 * MIB * 3 // 4 - 1_000)).decode()
    document = json.dumps({"audio": [{"data": data}], "labels": ["dog", "cat"]}).encode()
    return many_at_once(8, lambda http: post(http, document), http)


def tiny_values(http: httpx.Client) -> list[httpx.Response]:
    """Eight bodies of 63 MiB that are nothing but empty objects."""
    document = b'{"labels": [' + b"{}," * (63 * MIB // 3 - 10) + b"{}]}"
    return many_at_once(8, lambda http: post(http, document), http)


def distinct_keys(http: httpx.Client) -> list[httpx.Response]:
    """Eight bodies of 63 MiB that are one object of millions of different keys."""
    keys = b",".join(b'"%x":0' % number for number in range(63 * MIB // 10))
    document = b"{" + keys + b"}"
    return many_at_once(8, lambda http: post(http, document), http)


def wide_text(http: httpx.Client) -> list[httpx.Response]:
    """Eight forms with 63 MiB of text, which takes four times as much as Python text."""
    text = "😀" + "x" * (4 * MIB - 16)
    return many_at_once(8, lambda http: http.post("/v1/classify", data={}, files=[("labels", (None, text))] * 15), http)


def label_arrays(http: httpx.Client) -> list[httpx.Response]:
    """250 requests with 1,000 new labels of 1,000 characters each, whose arrays are kept."""
    clip = base64.b64encode(silence(1)).decode()

    def ask(number: int) -> httpx.Response:
        labels = [f"{number} {position} ".ljust(1_000, "x") for position in range(1_000)]
        return post(http, json.dumps({"audio": {"data": clip}, "labels": labels, "top_k": 1}).encode())

    with ThreadPoolExecutor(2) as clients:
        return list(clients.map(ask, range(250)))


ATTACKS: dict[str, Ask] = {
    each.__name__: each
    for each in (
        silent_hours,
        silent_hours_four_times,
        long_timeline,
        longest_allowed_answers,
        large_json,
        tiny_values,
        distinct_keys,
        wide_text,
        label_arrays,
    )
}


@dataclass
class Seen:
    """Memory and probes while an attack ran."""

    api_mib: float = 0.0
    service_mib: float = 0.0
    slowest_s: float = 0.0
    failed_probes: int = 0


def watch(pid: int, address: str, channel: Connection) -> None:
    """Watch a service until something is received, then send back what was seen.

    A process of its own: in that of the attackers a probe would wait for them.
    """
    seen = Seen()
    with httpx.Client(base_url=address, timeout=10) as http:
        while not channel.poll(SAMPLE_S):
            seen.api_mib = max(seen.api_mib, *(resident_mib([each]) for each in roles(pid)["api"]))
            seen.service_mib = max(seen.service_mib, resident_mib(tree(pid)))
            began = time.perf_counter()
            try:
                good = http.get("/livez").status_code == 200
            except httpx.TransportError:
                good = False
            seen.failed_probes += not good
            seen.slowest_s = max(seen.slowest_s, time.perf_counter() - began)
    channel.send(seen)


def attack(ask: Ask, running: Running) -> tuple[list[str], bool]:
    """Run one attack. Returns its row of the report, and whether the service withstood it."""
    address = f"http://127.0.0.1:{running.target.port}"
    before = sorted(roles(running.pid)["api"] + roles(running.pid)["worker"])
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    watching = context.Process(target=watch, args=(running.pid, address, theirs), daemon=True)
    watching.start()
    began = time.perf_counter()
    try:
        with httpx.Client(base_url=address, timeout=120, limits=httpx.Limits(max_connections=None)) as http:
            answers = ask(http)
    finally:
        took_s = time.perf_counter() - began
        mine.send(None)
        seen: Seen = mine.recv()
        watching.join()
    statuses = Counter(answer.status_code for answer in answers)
    same = sorted(roles(running.pid)["api"] + roles(running.pid)["worker"]) == before
    held = same and not seen.failed_probes and seen.slowest_s < PROBE_LIMIT_S and seen.service_mib < limit_mib()
    said = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    largest = max(len(answer.content) for answer in answers)
    figures = [f"{seen.api_mib:.0f}", f"{seen.service_mib:.0f}", f"{seen.slowest_s * 1e3:.0f}", str(seen.failed_probes)]
    return [ask.__name__, said, f"{largest / MIB:.1f}", f"{took_s:.1f}", *figures, "yes" if same else "NO"], held


def limit_mib() -> float:
    """The chart's limit of memory."""
    text = yaml.safe_load(VALUES.read_text())["resources"]["limits"]["memory"]
    return float(text.removesuffix("Gi")) * 1024


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attacks", description=__doc__.splitlines()[0])
    parser.add_argument("attacks", nargs="*", metavar="ATTACK", help="all if none is named")
    parser.add_argument("--cgroup", type=Path, help="control group to start the service in, whose memory you limited")
    options = parser.parse_args(arguments)
    names = options.attacks or list(ATTACKS)
    columns = ["attack", "answers", "largest MiB", "s", "API MiB", "service MiB", "livez max ms", "failed", "alive"]
    table = Table(*columns, title=f"limit {limit_mib():.0f} MiB, /livez {PROBE_LIMIT_S * 1e3:.0f} ms")
    all_held = True
    for name in names:
        with (
            tempfile.TemporaryDirectory() as folder,
            anysound(None, Path(folder) / "log", cgroup=options.cgroup) as running,
        ):
            row, held = attack(ATTACKS[name], running)
        table.add_row(*row)
        all_held &= held
    Console(width=170).print(table)
    return 0 if all_held else 1


if __name__ == "__main__":
    sys.exit(main())
