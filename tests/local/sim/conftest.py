"""Simulated servers as processes of their own, and a plain HTTP client to ask them."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.engines.sim.settings import CoordinatorSettings, Fault, Kind, ServerSettings, Timing, dump
from tests.waiting import LIMIT_S, until

MODEL = "tiny"
FAST = Timing(decode_step_ms=1.0, decode_step_per_request_ms=0.0)


def body(prompt: int = 4, max_tokens: int = 4, **more: Any) -> dict[str, Any]:
    """A completion request of ``prompt`` token ids."""
    return {"model": MODEL, "prompt": [1] * prompt, "max_tokens": max_tokens, "ignore_eos": True, **more}


@dataclass
class Answer:
    """Status and text of an answer."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def error(self) -> str:
        message = self.json["error"]["message"]
        assert isinstance(message, str)
        return message

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of a stream without its end mark, which must be there."""
        lines = [line.removeprefix("data: ") for line in self.text.split("\n\n") if line]
        assert lines[-1] == "[DONE]"
        return [json.loads(line) for line in lines[:-1]]

    @property
    def texts(self) -> list[str]:
        return [event["choices"][0]["text"] for event in self.events if event["choices"]]


class Server:
    """One process."""

    def __init__(self, role: str, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.role = role
        self.process = process
        self.address_file = folder / f"{role}.addr"
        self.log_file = folder / f"{role}.log"
        self.truth_file = folder / f"{role}.truth"
        self.address = ""

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    @property
    def truth(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.truth_file.read_text(encoding="utf-8").splitlines()]

    def get(self, path: str) -> Answer:
        return self._ask("GET", path, None)

    def post(self, content: Mapping[str, Any] | str, path: str = "/v1/completions") -> Answer:
        text = content if isinstance(content, str) else json.dumps(content)
        return self._ask("POST", path, text)

    def metric(self, name: str) -> int:
        page = self.get("/metrics").text
        return next(int(line.split()[1]) for line in page.splitlines() if line.startswith(f"{name} "))

    def wait_for_address(self) -> None:
        def published() -> bool:
            assert self.process.poll() is None or self.address_file.exists(), self.log
            return self.address_file.exists()

        until(published, f"address of {self.role}")
        self.address = self.address_file.read_text(encoding="utf-8")

    def wait_for_health(self) -> None:
        until(lambda: self.get("/health").status == 200, f"health of {self.role}")

    def _ask(self, method: str, path: str, content: str | None) -> Answer:
        host, _, port = self.address.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=LIMIT_S)
        try:
            connection.request(method, path, body=content, headers={"Content-Type": "application/json"})
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode())
        finally:
            connection.close()


class Cluster:
    """Starts servers; all of them are killed with the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.servers: list[Server] = []
        self._env: dict[str, str] = {}

    def setenv(self, name: str, value: str) -> None:
        """For the processes started from now on."""
        self._env[name] = value

    def server(
        self, kind: Kind, role: str = "", *, ready: bool = True, timing: Timing = FAST, truth: bool = False, **more: Any
    ) -> Server:
        """A CTX, GEN or aggregated server, healthy by default."""
        role = role or {"ctx": "CTX_0", "gen": "GEN_0", "server": "SERVER_0"}[kind]
        settings = ServerSettings(role=role, model=MODEL, timing=timing, **more)
        return self._start(role, ["server", "--kind", kind], dump(settings), ready, truth)

    def coordinator(
        self, ctx: list[Server], gen: list[Server], *, ready: bool = True, truth: bool = False, **more: Any
    ) -> Server:
        """The coordinator, by default once every server is routable."""
        ctx_addresses, gen_addresses = (tuple(server.address for server in servers) for servers in (ctx, gen))
        settings = CoordinatorSettings("DISAGG_SERVER", MODEL, ctx=ctx_addresses, gen=gen_addresses, **more)
        server = self._start(settings.role, ["coordinator"], dump(settings), ready, truth)
        if ready:
            until(lambda: server.get("/cluster_info").json["is_ready"], "all servers routable")
        return server

    def pair(self, **more: Any) -> tuple[Server, Server, Server]:
        """CTX, GEN and coordinator."""
        ctx, gen = self.server("ctx", **more), self.server("gen", **more)
        return ctx, gen, self.coordinator([ctx], [gen])

    def _start(self, role: str, command: list[str], settings: str, ready: bool, truth: bool) -> Server:
        folder = self.folder / str(len(self.servers))
        folder.mkdir()
        settings_file = folder / f"{role}.json"
        settings_file.write_text(settings, encoding="utf-8")
        argv = [sys.executable, "-m", "pytest_disagg.engines.sim", *command, "--settings", str(settings_file)]
        argv += ["--host", "127.0.0.1", "--address-file", str(folder / f"{role}.addr")]
        if truth:
            argv += ["--truth-log", str(folder / f"{role}.truth")]
        env = {"PATH": "/usr/bin:/bin", "PYTHONUNBUFFERED": "1", **self._env}
        with (folder / f"{role}.log").open("wb") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT, env=env)
        server = Server(role, process, folder)
        self.servers.append(server)
        server.wait_for_address()
        if ready:
            server.wait_for_health()
        return server


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads to ask from."""
    with ThreadPoolExecutor(max_workers=32) as executor:
        yield executor


@pytest.fixture
def cluster(tmp_path: Path, pool: ThreadPoolExecutor) -> Iterator[Cluster]:
    """Ends before the pool does, so that no thread is left waiting for an answer."""
    started = Cluster(tmp_path)
    try:
        yield started
    finally:
        for server in started.servers:
            server.process.kill()
            server.process.wait()


def fault(kind: str, **more: Any) -> tuple[Fault, ...]:
    return (Fault(kind, **more),)
