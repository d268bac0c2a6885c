"""Build the image for real, without a daemon, and run its process as a pod does: `make image-test`, as root.

The base is Debian by debootstrap instead of the one that docker/Dockerfile names, and bubblewrap stands for the
container runtime: uid 10001, a root that is read-only, no capability, a /tmp of its own.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.deploy.chart import ROOT
from tests.service.redis_server import free_port

PROGRAMS = ("buildah", "debootstrap", "bwrap")
BASE = "localhost/anysound-base:test"
PACKAGES = "ca-certificates,python3,python3-venv"
HOST_TRUST = ("/etc/ssl/certs", "/etc/pip.conf", "/etc/xdg/pip")
"""How pip reaches its index here; mounted while the image is built, and not a part of it."""
UID = 10001


def say(line: str) -> None:
    print(f"image-test: {line}", flush=True)  # noqa: T201


class Buildah:
    """Buildah with a storage of its own, so that nothing of the machine's images is touched."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}

    def __call__(self, *arguments: str, quiet: bool = True) -> str:
        command = ["buildah", f"--root={self.folder}/storage", f"--runroot={self.folder}/run", *arguments]
        done = subprocess.run(command, env=self.environment, stdout=subprocess.PIPE if quiet else None, text=True)
        if done.returncode:
            raise SystemExit(f"image-test: {' '.join(command[:4])} … ended with {done.returncode}")
        return done.stdout or ""


def make_base(buildah: Buildah, folder: Path) -> None:
    """Debian with Python, as an image."""
    root = folder / "rootfs"
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    container = buildah("from", "scratch").strip()
    buildah("add", "--quiet", container, str(root), "/")
    buildah("config", "--cmd", "/bin/bash", container)
    buildah("commit", "--quiet", "--rm", container, BASE)
    shutil.rmtree(root)


def build(buildah: Buildah, target: str) -> str:
    image = f"localhost/anysound:{target}-test"
    trust = [argument for path in HOST_TRUST if Path(path).exists() for argument in ("-v", f"{path}:{path}:ro")]
    buildah(
        *("bud", "--format=docker", "--layers=false", "--pull-never", f"--target={target}"),
        *(f"--build-arg=BASE_IMAGE={BASE}", "--build-arg=REVISION=test"),
        *trust,
        *("--file", str(ROOT / "docker" / "Dockerfile"), "--tag", image, str(ROOT)),
        quiet=False,
    )
    return image


def sandbox(root: str, *command: str) -> list[str]:
    """The command line that runs `command` in the image as a restricted pod would."""
    return [
        *("bwrap", "--ro-bind", root, "/", "--tmpfs", "/tmp", "--proc", "/proc", "--dev", "/dev"),  # noqa: S108
        *(
            "--unshare-user",
            "--uid",
            str(UID),
            "--gid",
            str(UID),
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
            "--as-pid-1",
        ),
        *("--cap-drop", "ALL", "--die-with-parent", "--new-session", *command),
    ]


def environment(config: dict[str, Any], **more: str) -> dict[str, str]:
    return dict(variable.split("=", 1) for variable in config["Env"]) | more


def inside(root: str, config: dict[str, Any], *command: str) -> str:
    """What a command in the image prints; both streams, whatever its status."""
    done = subprocess.run(sandbox(root, *command), env=environment(config), capture_output=True, text=True)
    return (done.stdout + done.stderr).strip()


def check(what: str, good: bool, found: object = "") -> None:
    if not good:
        raise SystemExit(f"image-test: {what}: FAILED {found}")
    say(f"{what}: {found}" if found != "" else what)


def check_configuration(config: dict[str, Any], labels: dict[str, str]) -> None:
    check("runs as", config["User"] == f"{UID}:{UID}", config["User"])
    check(
        "entry in exec form", config["Entrypoint"] == ["anysound"] and config["Cmd"] == ["serve"], config["Entrypoint"]
    )
    check("stops on", config["StopSignal"] == "SIGTERM", config["StopSignal"])
    check("health check in exec form", config["Healthcheck"]["Test"][:2] == ["CMD", "python"])
    check("labels", labels["org.opencontainers.image.revision"] == "test", labels["org.opencontainers.image.title"])


def check_contents(root: str, config: dict[str, Any]) -> None:
    status = inside(root, config, "cat", "/proc/self/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    check("uid", fields["Uid"].split() == [str(UID)] * 4, fields["Uid"].split()[0])
    check("capabilities", int(fields["CapEff"], 16) == 0, fields["CapEff"])
    check("root is read-only", "Read-only" in inside(root, config, "touch", "/opt/anysound/x"))
    compilers = [
        name for name in ("cc", "gcc", "g++", "clang", "make", "ld") if shutil.which(name, path=f"{root}/usr/bin")
    ]
    check("compilers", not compilers, compilers or "none")
    script = (
        "import soundfile, importlib.util; "
        "print(soundfile._libname, soundfile.__libsndfile_version__, importlib.util.find_spec('_soundfile_data'))"
    )
    library = inside(root, config, "python", "-c", script)
    check("the system's libsndfile", library.startswith("libsndfile.so") and library.endswith("None"), library)


def tone() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(32_000)
        samples = (int(9_000 * math.sin(n / 12)) for n in range(64_000))
        sound.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return file.getvalue()


@contextmanager
def served(root: str, config: dict[str, Any], port: int) -> Iterator[subprocess.Popen[bytes]]:
    variables = environment(config, ANYSOUND_HOST="127.0.0.1", ANYSOUND_PORT=str(port), ANYSOUND_DRAIN_S="10")
    process = subprocess.Popen(sandbox(root, *config["Entrypoint"], *config["Cmd"]), env=variables)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def until_ready(process: subprocess.Popen[bytes], port: int, seconds: float = 180) -> float:
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if process.poll() is not None:
            raise SystemExit(f"image-test: the service ended with {process.returncode}")
        try:
            if httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return time.monotonic() - began
        except httpx2.TransportError:
            pass
        time.sleep(0.5)
    raise SystemExit("image-test: the service did not become ready")


def check_service(root: str, config: dict[str, Any]) -> None:
    port = free_port()
    with served(root, config, port) as process:
        check("ready", True, f"after {until_ready(process, port):.1f} s")
        url = f"http://127.0.0.1:{port}/v1/classify?labels=a+steady+tone&labels=a+dog+barking"
        answer = httpx2.post(url, content=tone(), headers={"Content-Type": "audio/wav"}, timeout=60)
        scores = answer.json()["results"][0]["scores"]
        check("/v1/classify", len(scores) == 2 and abs(sum(s["score"] for s in scores) - 1) < 1e-3, scores[0])
        health = config["Healthcheck"]["Test"][1:]
        done = subprocess.run(sandbox(root, *health), env=environment(config, ANYSOUND_PORT=str(port)))
        check("health check says healthy", done.returncode == 0)
        child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        os.kill(child, signal.SIGTERM)
        check("ends by itself on SIGTERM, as process 1", process.wait(30) == 0, f"status {process.returncode}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", choices=["cpu", "cuda"], default="cuda", help="cpu needs PyTorch's own index")
    parser.add_argument("--keep", type=Path, help="folder for the image; kept, with the base, for another run")
    options = parser.parse_args()
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        say(f"skipped: needs root and {', '.join(PROGRAMS)} (apt-get install buildah debootstrap bubblewrap)")
        return 0
    folder = options.keep or Path(tempfile.mkdtemp(prefix="anysound-image-"))
    folder.mkdir(parents=True, exist_ok=True)
    buildah = Buildah(folder)
    try:
        if BASE not in buildah("images", "--format", "{{.Name}}:{{.Tag}}"):
            say("making a base with debootstrap")
            make_base(buildah, folder)
        began = time.monotonic()
        image = build(buildah, options.target)
        say(f"built {image} in {time.monotonic() - began:.0f} s")
        docker = json.loads(buildah("inspect", "--type=image", image))["Docker"]["config"]
        check_configuration(docker, docker["Labels"])
        container = buildah("from", "--pull-never", image).strip()
        root = buildah("mount", container).strip()
        check_contents(root, docker)
        check_service(root, docker)
        buildah("rm", container)
    finally:
        if options.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    say("passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
