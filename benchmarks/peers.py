"""The same load through the native client and through other people's load generators, beside the server's own log.

A simulated deployment (one CTX and one GEN server behind the coordinator, each a process) gets the same load from each
client in turn. For each: the median TTFT and TPOT that it measured, in brackets how much more than the coordinator's
truth log says of the very same requests (from the request read completely to the write of its chunks), the concurrency
that was reached, and what a load cost: wall time with the program's start, and CPU seconds.

    bash tests/clients.sh                                            # aiperf, once
    python benchmarks/peers.py
    python benchmarks/peers.py --peers aiperf sglang_bench --concurrency 64
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_disagg.clients import registry
from pytest_disagg.clients.protocol import LoadPoint
from pytest_disagg.engines.sim.settings import CoordinatorSettings, ServerSettings, Timing, dump
from pytest_disagg.records.summary import percentile

MODEL = "tiny"
WAIT_S = 30.0
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pytest-disagg" / "clients"
PEERS = {"aiperf": "aiperf", "vllm_bench": "vllm", "sglang_bench": "sglang"}
"""Clients, and the folder that tests/clients.sh installs their program into."""


@dataclass
class Seen:
    """One side's values of all requests (ms)."""

    ttft_ms: list[float] = field(default_factory=list)
    tpot_ms: list[float] = field(default_factory=list)

    def add(self, sent_s: float, chunks: Sequence[tuple[float, int]]) -> None:
        """A request: when it was sent or received, and time and tokens of each chunk."""
        tokens = sum(count for _, count in chunks)
        self.ttft_ms.append(1000 * (chunks[0][0] - sent_s))
        if tokens > 1:
            self.tpot_ms.append(1000 * (chunks[-1][0] - chunks[0][0]) / (tokens - 1))


@dataclass
class Side:
    """A client's measurements and the server's of the same requests."""

    client: Seen = field(default_factory=Seen)
    server: Seen = field(default_factory=Seen)
    concurrency: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


class Deployment:
    """CTX, GEN and coordinator on this machine, ended with the block."""

    def __init__(self, folder: Path, timing: Timing) -> None:
        self._folder = folder
        self._timing = timing
        self._started: list[subprocess.Popen[bytes]] = []
        self._read = 0
        self.truth = folder / "DISAGG_SERVER.truth"
        self.url = ""

    def __enter__(self) -> Deployment:
        workers = []
        for kind, role in (("ctx", "CTX_0"), ("gen", "GEN_0")):
            settings = ServerSettings(role=role, model=MODEL, timing=self._timing)
            workers.append(self._start(role, ["server", "--kind", kind], dump(settings)))
        ctx, gen = workers
        settings_of_all = CoordinatorSettings("DISAGG_SERVER", MODEL, ctx=(ctx,), gen=(gen,))
        words = ["coordinator", "--truth-log", str(self.truth)]
        self.url = f"http://{self._start('DISAGG_SERVER', words, dump(settings_of_all))}"
        until(lambda: bool(json.loads(get(f"{self.url}/cluster_info"))["is_ready"]), "the deployment to be routable")
        return self

    def __exit__(self, *exc_info: object) -> None:
        for process in self._started:
            process.terminate()
        for process in self._started:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def written(self, tokens: int) -> list[dict[str, Any]]:
        """The truth of the chunks since the last call, once they make up that many tokens."""
        rows: list[dict[str, Any]] = []

        def whole() -> bool:
            rows[:] = [json.loads(line) for line in self.truth.read_text().splitlines()[self._read :]]
            return sum(int(row["tokens"]) for row in rows) >= tokens

        until(whole, f"{tokens} tokens in the truth log")
        self._read += len(rows)
        return rows

    def _start(self, role: str, words: Sequence[str], settings: str) -> str:
        """Start a process; its address once it is healthy."""
        settings_file, address_file = self._folder / f"{role}.json", self._folder / f"{role}.addr"
        settings_file.write_text(settings)
        command = [sys.executable, "-m", "pytest_disagg.engines.sim", words[0], "--settings", str(settings_file)]
        command += [*words[1:], "--host", "127.0.0.1", "--address-file", str(address_file)]
        with (self._folder / f"{role}.log").open("wb") as log:
            self._started.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
        until(address_file.exists, f"the address of {role}")
        address = address_file.read_text()
        until(lambda: bool(get(f"http://{address}/health")), f"{role} to be healthy")
        return address


def until(condition: Callable[[], bool], what: str) -> None:
    """Poll a condition."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {WAIT_S:g} s in vain for {what}")
        time.sleep(0.05)


def get(url: str) -> bytes:
    """The body of an answer, empty unless it is a 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            body: bytes = answer.read()
            return body or b"{}"
    except OSError:
        return b""


def measure(side: Side, name: str, deployment: Deployment, point: LoadPoint, run: int) -> str:
    """One load by one client, added to ``side``; the client's version."""
    cpu_s, wall_s = cpu(), time.monotonic()
    result = registry.get(name).measure(deployment.url, point, run)
    side.cpu_s.append(cpu() - cpu_s)
    side.wall_s.append(time.monotonic() - wall_s)
    failed = [sample.error for sample in result.samples if not sample.ok]
    if failed:
        raise SystemExit(f"{name}: {len(failed)} requests failed: {failed[0]}")
    rows = deployment.written(sum(sample.asked_tokens for sample in result.samples))
    requests: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        requests.setdefault(row["request_id"], []).append(row)
    for chunks in requests.values():
        side.server.add(chunks[0]["received_s"], [(row["monotonic_s"], row["tokens"]) for row in chunks])
    for sample in result.samples:
        last = sample.chunk_s[-1]
        counted = [(first, 0) for first in sample.chunk_s[:-1]]
        side.client.add(sample.written_s, [*counted, (last, sample.output_tokens)])
    side.concurrency.append(result.achieved_concurrency)
    return result.tool_version


def cpu() -> float:
    """CPU seconds of this process and of all programs that it has waited for."""
    both = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def row(name: str, version: str, side: Side) -> str:
    cells = [f"{name} {version}".ljust(22)]
    for key in ("ttft_ms", "tpot_ms"):
        own, there = (percentile(sorted(getattr(seen, key)), 50) for seen in (side.client, side.server))
        cells.append(f"{own:8.2f} ({own - there:+.2f})".ljust(19))
    cells += [f"{percentile(sorted(side.concurrency), 50):11.1f}"]
    return "  ".join([*cells, *(f"{percentile(sorted(cost), 50):7.2f}" for cost in (side.wall_s, side.cpu_s))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", choices=sorted(PEERS), default=["aiperf"])
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--waves", type=int, default=8, help="requests per concurrency (default: 8)")
    parser.add_argument("--isl", type=int, default=256)
    parser.add_argument("--osl", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3, help="loads of each client, in turn (default: 3)")
    parser.add_argument("--step-ms", type=float, default=10.0, help="decode step of the server (default: 10)")
    parser.add_argument("--tokenizer", default="", help="model folder, for peers that make prompts themselves")
    args = parser.parse_args()
    for name in args.peers:
        if (CACHE / PEERS[name]).is_dir():
            os.environ.setdefault(f"DISAGG_{name.upper()}", str(CACHE / PEERS[name]))
        if reason := registry.get(name).unavailable():
            raise SystemExit(f"{name}: {reason} (bash tests/clients.sh {PEERS[name]})")
    point = LoadPoint(
        concurrency=args.concurrency,
        num_prompts=args.concurrency * args.waves,
        isl=args.isl,
        osl=args.osl,
        model=MODEL,
        tokenizer=args.tokenizer,
    )
    if problems := [str(problem) for name in args.peers for problem in registry.get(name).check(point)]:
        raise SystemExit("\n".join(problems))
    names = ["native", *args.peers]
    sides, versions = {name: Side() for name in names}, dict.fromkeys(names, "")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        timing = Timing(decode_step_ms=args.step_ms, decode_step_per_request_ms=0.0)
        deployment = stack.enter_context(Deployment(folder, timing))
        measure(Side(), "native", deployment, point, 1000)
        for run in range(args.runs):
            for name in names:
                versions[name] = measure(sides[name], name, deployment, point, run)
    print("client's median in ms (more than the server's)")
    titles = ("client".ljust(22), "TTFT p50".ljust(19), "TPOT p50".ljust(19), "concurrency", " wall s", "  CPU s")
    print("  ".join(titles))
    for name in names:
        print(row(name, versions[name], sides[name]), flush=True)


if __name__ == "__main__":
    main()
