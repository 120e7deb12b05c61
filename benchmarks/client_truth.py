"""How true is the native client? The same load by it and by a plain aiohttp client, held against a server that knows.

A truth server (benchmarks/truth_server.py, its own process) streams chunks on an absolute schedule and notes each
write. For each client: the error of TTFT and ITL (client's percentile - server's own, ms) and the CPU seconds it took.

    python benchmarks/client_truth.py --streams 64 256 1024
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import monotonic, process_time
from typing import Any

from pytest_disagg.clients.native.client import NativeClient
from pytest_disagg.clients.protocol import LoadPoint
from pytest_disagg.records.summary import percentile

SERVER = Path(__file__).resolve().with_name("truth_server.py")
START_S = 20.0


@dataclass(frozen=True)
class Measured:
    """What one side saw: times to first chunk and gaps between chunks (ms, ascending)."""

    ttft_ms: list[float]
    itl_ms: list[float]


def measured(starts_s: Sequence[float], chunks_s: Sequence[Sequence[float]]) -> Measured:
    ttft = [1000 * (chunks[0] - start) for start, chunks in zip(starts_s, chunks_s, strict=True)]
    itl = [1000 * (b - a) for chunks in chunks_s for a, b in pairwise(chunks)]
    return Measured(sorted(ttft), sorted(itl))


def by_native(url: str, point: LoadPoint) -> Measured:
    result = NativeClient().measure(url, point, 0)
    failed = [sample.error for sample in result.samples if not sample.ok]
    if failed:
        raise SystemExit(f"{len(failed)} requests failed: {failed[0]}")
    return measured([s.written_s for s in result.samples], [s.chunk_s for s in result.samples])


def by_aiohttp(url: str, point: LoadPoint) -> Measured:
    import aiohttp

    starts: list[float] = []
    chunks: list[list[float]] = []
    body = {"model": point.model, "prompt": list(range(point.isl)), "max_tokens": point.osl, "stream": True}

    async def one(session: aiohttp.ClientSession, turn: asyncio.Semaphore) -> None:
        async with turn:
            times: list[float] = []
            start = monotonic()
            async with session.post(f"{url}/v1/completions", json=body) as response:
                async for line in response.content:
                    if line.startswith(b"data: ") and b"[DONE]" not in line:
                        event = json.loads(line[6:])
                        if event["choices"]:
                            times.append(monotonic())
            starts.append(start)
            chunks.append(times)

    async def load() -> None:
        turn = asyncio.Semaphore(point.concurrency)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(one(session, turn) for _ in range(point.num_prompts)))

    try:
        import uvloop
    except ImportError:
        asyncio.run(load())
    else:
        uvloop.run(load())
    return measured(starts, chunks)


CLIENTS: dict[str, Callable[[str, LoadPoint], Measured]] = {"native": by_native, "aiohttp": by_aiohttp}


def truth(url: str) -> Measured:
    with urllib.request.urlopen(f"{url}/truth", timeout=30) as answer:
        streams: list[dict[str, Any]] = json.load(answer)
    return measured([s["received_s"] for s in streams], [s["written_s"] for s in streams])


def row(client: str, streams: int, seen: Measured, true: Measured, cpu_s: float) -> str:
    cells = [f"{client:<8}", f"{streams:>7}"]
    for p in (50, 99):
        for name in ("ttft_ms", "itl_ms"):
            own, there = percentile(getattr(seen, name), p), percentile(getattr(true, name), p)
            cells.append(f"{own:>8.2f} ({own - there:+7.2f})")
    return "  ".join([*cells, f"{cpu_s:>7.2f}"])


def start_server(args: argparse.Namespace, folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    address_file = folder / "address"
    command = [sys.executable, str(SERVER), "--address-file", str(address_file)]
    command += ["--first-ms", str(args.first_ms), "--gap-ms", str(args.gap_ms)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = monotonic() + START_S
    while not address_file.exists():
        if process.poll() is not None or monotonic() > deadline:
            process.kill()
            raise SystemExit(f"the truth server did not start: exit code {process.poll()}")
        time.sleep(0.02)
    return process, f"http://{address_file.read_text()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[256], help="concurrent streams (default: 256)")
    parser.add_argument("--waves", type=int, default=2, help="requests per stream (default: 2)")
    parser.add_argument("--chunks", type=int, default=64, help="chunks per request (default: 64)")
    parser.add_argument("--first-ms", type=float, default=50.0)
    parser.add_argument("--gap-ms", type=float, default=20.0)
    parser.add_argument("--clients", nargs="+", choices=sorted(CLIENTS), default=["native", "aiohttp"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server, url = start_server(args, Path(folder))
        try:
            print("client's value in ms (client's - server's own)")
            print(
                "client    streams"
                + "".join(f"  {name:<18}" for name in ("TTFT p50", "ITL p50", "TTFT p99", "ITL p99"))
                + "    CPU s"
            )
            for streams in args.streams:
                point = LoadPoint(streams, streams * args.waves, isl=128, osl=args.chunks, model="truth")
                for name in args.clients:
                    truth(url)
                    before = process_time()
                    seen = CLIENTS[name](url, point)
                    cpu_s = process_time() - before
                    print(row(name, streams, seen, truth(url), cpu_s), flush=True)
        finally:
            server.terminate()
            with suppress(subprocess.TimeoutExpired):
                server.wait(5)
            server.kill()
            server.wait()


if __name__ == "__main__":
    main()
