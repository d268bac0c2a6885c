"""A supervisor as process 1 whose API process is killed and leaves a child: prints its process id and the zombies."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from service.supervise.processes import Child, Supervisor

BEATS = """
import sys, time
from service import lifeline
heartbeat = lifeline.attach(int(sys.argv[-1]))
while lifeline.heard(heartbeat) is not None:
    lifeline.beat(heartbeat)
    time.sleep(0.02)
"""
WITH_A_CHILD = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1)'])" + BEATS


def zombies() -> list[str]:
    states = {entry.name: (entry / "stat").read_text() for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    return [pid for pid, state in states.items() if state.rpartition(")")[2].split()[0] == "Z"]


def watch(supervisor: Supervisor, api: Child) -> None:
    while not all(child.ready for child in supervisor.children):
        time.sleep(0.02)
    assert api.process is not None
    api.process.kill()
    while not (api.restarts and api.ready):
        time.sleep(0.02)
    end = time.monotonic() + 10
    while len(list(Path("/proc").glob("[0-9]*"))) > 3 and time.monotonic() < end:  # itself and its two children
        time.sleep(0.1)
    sys.stdout.write(f"{os.getpid()} {len(zombies())}\n")
    supervisor.stop()


def main() -> int:
    worker = Child("worker", lambda _: [sys.executable, "-c", BEATS])
    api = Child("api", lambda restarts: [sys.executable, "-c", BEATS if restarts else WITH_A_CHILD])
    supervisor = Supervisor([worker], [api], 1)
    threading.Thread(target=watch, args=(supervisor, api)).start()
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main())
