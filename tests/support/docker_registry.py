"""Docker's own registry (Debian's package `docker-registry`), for tests against a registry that nobody here wrote.

    with docker_registry(tmp_path) as registry:
        push(f"{registry.host}/library/tiny:latest", insecure=True)

The program is looked for on PATH and where `.ci/registry` puts it. Without it the test is skipped.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["PASSWORD", "USER", "DockerRegistry", "docker_registry"]

USER, PASSWORD = "someone", "correct-horse"
# What `htpasswd -Bbn` makes of the two: the registry takes bcrypt only.
_HTPASSWD = "someone:$2b$05$remudaremudaremudaremuMAcGCGJud0S4cDHFF/CBRQrtsBkILLS\n"
_FETCHED = Path(__file__).parents[2] / ".venv" / "registry" / "usr" / "bin" / "docker-registry"
_START_SECONDS = 20.0


@dataclass(frozen=True)
class DockerRegistry:
    host: str
    """Host and port."""
    folder: Path
    """Where it keeps what it has."""
    log: Path
    """What it wrote, one line for each request among others."""

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def requests(self, method: str, part: str = "") -> int:
        """How many requests of that method it answered whose path holds `part`."""
        lines = self.log.read_text(errors="replace").splitlines()
        return sum(f'"{method} /v2/' in line and part in line for line in lines)

    def resumed(self, part: str = "") -> int:
        """Bytes of its replies to requests for a range, where the path holds `part`."""
        told = re.compile(rf"uri=.?/v2/\S*{re.escape(part)}.* http\.response\.status=206 http\.response\.written=(\d+)")
        return sum(int(size) for size in told.findall(self.log.read_text(errors="replace")))

    def log_in(self, home: Path) -> None:
        """Keep the password in a home folder, as `docker login` does."""
        folder = home / ".docker"
        folder.mkdir(exist_ok=True)
        auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {self.host: {"auth": auth}}}))


@contextmanager
def docker_registry(folder: Path, *, password: bool = False) -> Iterator[DockerRegistry]:
    """With `password` it wants `USER` and `PASSWORD`. `folder` is for its configuration, its log and its storage."""
    program = shutil.which("docker-registry") or (str(_FETCHED) if _FETCHED.exists() else None)
    if program is None:
        pytest.skip("docker-registry is not installed (.ci/registry fetches it)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "htpasswd").write_text(_HTPASSWD)
    config = {
        "version": 0.1,
        "log": {"accesslog": {"disabled": False}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}, "delete": {"enabled": True}},
        "http": {"addr": host, "secret": "of no importance"},
    }
    if password:
        config["auth"] = {"htpasswd": {"realm": "here", "path": str(folder / "htpasswd")}}
    # JSON is YAML.
    (folder / "config.yml").write_text(json.dumps(config))
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([program, "serve", str(folder / "config.yml")], stdout=output, stderr=output)
    try:
        _await_answer(f"http://{host}/v2/", process, log)
        yield DockerRegistry(host, folder / "storage", log)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_answer(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except urllib.error.HTTPError as error:
            # It wants a password.
            error.close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"docker-registry did not start:\n{log.read_text(errors='replace')}") from None
            time.sleep(0.02)
