"""What sampling telemetry costs the client it samples beside: the same load with and without, in turns.

The native client against the truth server (truth_server.py, its own process). ``off``: nothing is sampled. ``client``:
what BENCHMARK samples, its host and itself. ``all``: what the one process of an aggregated case samples, its server
and a metrics page of an engine besides (--families histograms of 20 buckets, as many gauges and counters).

    python benchmarks/telemetry_lag.py --streams 256 --rounds 9
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from statistics import median
from time import process_time

from client_truth import measured, start_server, truth

from pytest_disagg.clients.native.client import NativeClient
from pytest_disagg.clients.protocol import LoadPoint
from pytest_disagg.engines import http
from pytest_disagg.process.ports import Ports
from pytest_disagg.records.summary import percentile
from pytest_disagg.telemetry.engine import EngineSampler
from pytest_disagg.telemetry.host import HostSampler, ProcessSampler
from pytest_disagg.telemetry.recorder import Recorder, Sampler

COLUMNS = ("lag p50", "lag p99", "TTFT p50", "TTFT p99", "ITL p99", "CPU s")
START_S = 20.0


def page(families: int) -> str:
    """A page as large as that of a serving engine."""
    labels = 'engine="0",model_name="some/model"'
    lines: list[str] = []
    for family in range(families):
        lines += [f"# HELP engine:h{family} A histogram.", f"# TYPE engine:h{family} histogram"]
        lines += [f'engine:h{family}_bucket{{{labels},le="{bucket}.0"}} {bucket}.0' for bucket in range(20)]
        lines += [f"engine:h{family}_sum{{{labels}}} 17.5", f"engine:h{family}_count{{{labels}}} 20.0"]
        for kind, suffix in (("gauge", ""), ("counter", "_total")):
            lines += [f"# TYPE engine:{kind}{family}{suffix} {kind}", f"engine:{kind}{family}{suffix}{{{labels}}} 3.0"]
    return "\n".join(lines) + "\n"


def serve(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """The page, by a process of its own."""
    argv = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(folder)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ends_at = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < ends_at:
        with suppress(OSError):
            http.get(f"http://127.0.0.1:{port}/metrics", 1.0)
            return process
        time.sleep(0.02)
    process.kill()
    raise SystemExit(f"the metrics page is not served: exit code {process.poll()}")


def samplers(side: str, url: str, pid: int) -> Sequence[tuple[str, Sampler]]:
    found: list[tuple[str, Sampler]] = [
        ("client", HostSampler()),
        ("client", ProcessSampler([os.getpid()], children=False)),
    ]
    if side == "all":
        found.append(("server", ProcessSampler([pid])))
        found.append(("server", EngineSampler("", url, lambda: http.get(url, 1.0), print)))
    return found


def one(url: str, point: LoadPoint, recorder: Callable[[], Recorder] | None) -> list[float]:
    """Lag, error of TTFT and ITL against the server's own (ms), and CPU seconds of one load."""
    truth(url)
    with nullcontext() if recorder is None else recorder():
        before = process_time()
        result = NativeClient().measure(url, point, 0)
        cpu_s = process_time() - before
    if result.health is None or any(not sample.ok for sample in result.samples):
        raise SystemExit("requests failed")
    seen, true = measured([s.written_s for s in result.samples], [s.chunk_s for s in result.samples]), truth(url)
    ttft = [percentile(seen.ttft_ms, p) - percentile(true.ttft_ms, p) for p in (50, 99)]
    itl = percentile(seen.itl_ms, 99) - percentile(true.itl_ms, 99)
    return [result.health.lag_p50_ms, result.health.lag_p99_ms, *ttft, itl, cpu_s]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=256, help="concurrent streams (default: 256)")
    parser.add_argument("--waves", type=int, default=3, help="requests per stream (default: 3)")
    parser.add_argument("--chunks", type=int, default=64, help="chunks per request (default: 64)")
    parser.add_argument("--rounds", type=int, default=5, help="loads of each side (default: 5)")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two samples (default: 1)")
    parser.add_argument("--families", type=int, default=60, help="size of the engine's page (default: 60)")
    parser.set_defaults(first_ms=50.0, gap_ms=20.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "metrics").write_text(page(args.families))
        server, url = start_server(args, folder)
        stack.callback(server.wait)
        stack.callback(server.kill)
        ports = Ports("127.0.0.1")
        port = ports()
        ports.release()
        pages = serve(folder, port)
        stack.callback(pages.wait)
        stack.callback(pages.kill)
        metrics = f"http://127.0.0.1:{port}/metrics"

        def recorder(side: str) -> Callable[[], Recorder] | None:
            def make() -> Recorder:
                return Recorder(
                    folder / f"{side}.jsonl",
                    lambda: samplers(side, metrics, server.pid),
                    node="here",
                    interval_s=args.interval,
                    say=print,
                )

            return None if side == "off" else make

        point = LoadPoint(args.streams, args.streams * args.waves, isl=128, osl=args.chunks, model="truth")
        rows: dict[str, list[list[float]]] = {"off": [], "client": [], "all": []}
        one(url, point, None)
        for _ in range(args.rounds):
            for side, found in rows.items():
                found.append(one(url, point, recorder(side)))
        print(
            f"{args.streams} streams, medians of {args.rounds} loads (ms; of TTFT and ITL the error against the server)"
        )
        print(f"{'sampled':<10}" + "".join(f"{column:>10}" for column in COLUMNS))
        for side, found in rows.items():
            for title, statistic in ((side, median), ("  lowest", min), ("  highest", max)):
                cells = [statistic(values) for values in zip(*found, strict=True)]
                print(f"{title:<10}" + "".join(f"{cell:>10.2f}" for cell in cells))


if __name__ == "__main__":
    main()
