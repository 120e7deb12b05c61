"""A real OpenSearch of one node, without its security plugin, started and stopped by process id."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import requests

HERE = Path(__file__).parent
START_S = 120.0
STOP_S = 20.0


def jars() -> Path:
    """The folder that tests/opensearch.sh fills."""
    version = re.findall(r"<version>([\d.]+\.[\d.]+)</version>", (HERE / "pom.xml").read_text(encoding="utf-8"))[0]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "pytest-disagg-opensearch" / str(version) / "lib"


def unavailable() -> str:
    """Why no OpenSearch can be started here; empty where it can."""
    if shutil.which("java") is None or not jars().is_dir():
        return "no OpenSearch here: bash tests/opensearch.sh installs it, or set DISAGG_TEST_OPENSEARCH_URL"
    return ""


def free_port(first: int, last: int) -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    for port in range(first, last + 1):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise RuntimeError(f"no free port from {first} to {last}")


class OpenSearchServer:
    """A node with its data in ``folder``; stopping it keeps the data, starting it again finds them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._http = free_port(9211, 9290)
        self.url = f"http://127.0.0.1:{self._http}"

    def start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [
            *("java", "-Xms400m", "-Xmx400m", "-XX:+UseSerialGC", "-cp", f"{jars()}/*"),
            "org.codelibs.opensearch.runner.OpenSearchRunner",
            *("-basePath", str(self._folder / "node"), "-numOfNode", "1", "-clusterName", f"disagg-{os.getpid()}"),
            # The runner adds the number of the node, 1.
            *("-baseHttpPort", str(self._http - 1)),
        ]
        log = (self._folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        until = time.monotonic() + START_S
        seen = ""
        while time.monotonic() < until:
            if self._process.poll() is not None:
                seen = f"exit code {self._process.returncode}"
                break
            try:
                if requests.get(f"{self.url}/_cluster/health", timeout=2).json()["status"] in ("green", "yellow"):
                    return
            except (requests.RequestException, ValueError, KeyError) as error:
                seen = str(error)
            time.sleep(0.1)
        self.stop()
        tail = (self._folder / "log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"OpenSearch did not answer within {START_S:g} s ({seen}):\n{tail}")

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
