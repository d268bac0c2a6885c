"""Send requests at a constant rate; print one line of JSON; exit with 1 if a bound is exceeded.

The load is open loop: latency counts from when a request was due, so a slow service does not slow its callers down.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import struct
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import wave
from collections import Counter
from pathlib import Path

RATE = 32_000
LABELS = ("dog", "rain", "siren", "music", "speech")


def recording(seed: int, seconds: float = 5.0) -> bytes:
    """A wav of a tone and noise. Each seed gives another one, so that no cache answers."""
    numbers = random.Random(seed)  # noqa: S311
    pitch = numbers.uniform(100, 4_000)
    samples = (
        int(8_000 * math.sin(2 * math.pi * pitch * n / RATE) + numbers.uniform(-2_000, 2_000))
        for n in range(int(RATE * seconds))
    )
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return file.getvalue()


def varied(body: bytes, number: int) -> bytes:
    """The same recording with different samples at its end, so that no cache answers."""
    return body[:-8] + struct.pack("<q", number)


def ask(url: str, body: bytes, headers: dict[str, str], timeout_s: float) -> str:
    """Send one request. Returns the status of the answer, or the name of the exception."""
    request = urllib.request.Request(url, body, headers)  # noqa: S310 - the chart's URL
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
            answer.read()
            return str(answer.status)
    except urllib.error.HTTPError as error:
        return str(error.code)
    except (OSError, TimeoutError) as error:
        return type(error).__name__


def percentile(values: list[float], share: float) -> float:
    """The percentile by nearest rank; infinite if there are no values."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else math.inf


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="address of the service")
    parser.add_argument("--rate", type=float, default=5, help="requests per second")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--timeout-s", type=float, default=35)
    parser.add_argument("--key-file", type=Path, help="file with an API key")
    parser.add_argument("--max-failed-share", type=float, default=0.001)
    parser.add_argument("--max-p95-ms", type=float, default=250)
    options = parser.parse_args()

    query = urllib.parse.urlencode([("labels", label) for label in LABELS])
    url = f"{options.url.rstrip('/')}/v1/classify?{query}"
    headers = {"Content-Type": "audio/wav"}
    if options.key_file is not None:
        headers["X-API-Key"] = options.key_file.read_text().strip()
    recordings = [recording(seed) for seed in range(4)]
    total = max(1, int(options.rate * options.seconds))
    outcomes: list[tuple[str, float]] = []
    began = time.monotonic()

    def one(number: int, due: float) -> None:
        status = ask(url, varied(recordings[number % len(recordings)], number), headers, options.timeout_s)
        outcomes.append((status, time.monotonic() - due))

    threads = []
    for number in range(total):
        due = began + number / options.rate
        time.sleep(max(0.0, due - time.monotonic()))
        threads.append(threading.Thread(target=one, args=(number, due)))
        threads[-1].start()
    for thread in threads:
        thread.join()

    served = [seconds for status, seconds in outcomes if status == "200"]
    failed_share = 1 - len(served) / total
    p95_ms = percentile(served, 0.95) * 1e3
    report = {
        "requests": total,
        "statuses": dict(Counter(status for status, _ in outcomes)),
        "failed_share": round(failed_share, 5),
        "p50_ms": round(percentile(served, 0.5) * 1e3, 1) if served else None,
        "p95_ms": round(p95_ms, 1) if served else None,
        "clips_per_s": round(len(served) / (time.monotonic() - began), 2),
    }
    print(json.dumps(report))  # noqa: T201
    return 0 if failed_share <= options.max_failed_share and p95_ms <= options.max_p95_ms else 1


if __name__ == "__main__":
    sys.exit(main())
