"""A real OpenSearch of one node, without its security plugin, started and stopped by process id."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
import uuid
from pathlib import Path

import requests

HERE = Path(__file__).parent
START_S = 300.0
TRIES = 3
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


class OpenSearchServer:
    """A node with its data in ``folder``; stopping it keeps the data. ``url`` is another one after each start."""

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self._folder = folder
        self._log = folder / "log"
        self._cluster = f"disagg-{uuid.uuid4().hex}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Raises RuntimeError: it did not answer; with what was last seen and the end of its log."""
        self._folder.mkdir(parents=True, exist_ok=True)
        until = time.monotonic() + START_S
        for _ in range(TRIES):
            self._run()
            seen = self._wait(until)
            if not seen:
                return
            self.stop()
        tail = self._log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"OpenSearch did not answer within {START_S:g} s ({seen}):\n{tail}")

    def _run(self) -> None:
        command = [
            *("java", "-Xms400m", "-Xmx400m", "-XX:+UseSerialGC", "-cp", f"{jars()}/*"),
            "org.codelibs.opensearch.runner.OpenSearchRunner",
            *("-basePath", str(self._folder / "node"), "-numOfNode", "1", "-clusterName", self._cluster),
            # The runner takes the first free port above, at most 9299, and ends where another run was quicker with it.
            *("-baseHttpPort", str(random.randrange(9200, 9290))),
        ]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _wait(self, until: float) -> str:
        """Wait for its answer; what was last seen, empty where it did answer."""
        seen = "no port in its log"
        while self._process is not None and time.monotonic() < until:
            if self._process.poll() is not None:
                return f"exit code {self._process.returncode}"
            if port := re.search(r"^HTTP Port: +(\d+)$", self._log.read_text(errors="replace"), re.MULTILINE):
                self.url = f"http://127.0.0.1:{port[1]}"
                try:
                    health = requests.get(f"{self.url}/_cluster/health", timeout=2).json()
                    # Where another run was quicker with this port, its server is the one that answers.
                    if health["cluster_name"] == self._cluster and health["status"] in ("green", "yellow"):
                        return ""
                    seen = str(health)
                except (requests.RequestException, ValueError, KeyError) as error:
                    seen = str(error)
            time.sleep(0.1)
        return seen

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
