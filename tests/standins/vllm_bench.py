"""Stand-in for ``vllm bench serve`` (0.33.0). Nothing here is vLLM's.

It takes exactly the words that the client vllm_bench gives, sends the load with this project's own client, and writes
the result file under vLLM's names. ``STANDIN_END`` makes it end otherwise: ``exit`` (code 3, after an error),
``nothing`` (code 0 without a result), ``hang`` (after the load has begun; a child of its own hangs with it), ``late``
(before it has), ``after`` (code 1 when the result is written).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pytest_disagg.clients.native.client import NativeClient
from pytest_disagg.clients.protocol import LoadPoint, LoadResult
from pytest_disagg.records.summary import gaps_s

VALUES = (
    "backend base-url endpoint model tokenizer dataset-name random-input-len random-output-len random-range-ratio "
    "num-prompts max-concurrency seed temperature num-warmups ready-check-timeout-sec percentile-metrics "
    "metric-percentiles result-dir result-filename"
)
FLAGS = "ignore-eos save-result save-detailed"


def main() -> None:
    parser = argparse.ArgumentParser(prog="stand-in vllm bench serve", allow_abbrev=False)
    parser.add_argument("words", nargs=2, choices=["bench", "serve"])
    for name in VALUES.split():
        parser.add_argument(f"--{name}", required=True)
    for name in FLAGS.split():
        parser.add_argument(f"--{name}", action="store_true", required=True)
    parser.add_argument("--trust-remote-code", action="store_true")
    options = parser.parse_args()
    print("stand-in vllm bench serve: no vLLM here", flush=True)
    end = os.environ.get("STANDIN_END", "")
    if end == "late":
        hang()
    print(f"Maximum request concurrency: {options.max_concurrency}", flush=True)
    if end == "exit":
        print("Traceback (most recent call last):\nValueError: the stand-in was told to fail", flush=True)
        sys.exit(3)
    if end == "hang":
        print(f"Benchmarking:  50%|#####     | 3/{options.num_prompts} [00:01<00:01]", flush=True)
        Path(os.environ["STANDIN_PID"]).write_text(str(child_that_hangs()))
        hang()
    if end == "nothing":
        return
    result = measure(options)
    samples = result.samples
    document = {
        "duration": result.duration_s,
        "input_lens": [each.prompt_tokens for each in samples],
        "output_lens": [each.output_tokens if each.ok else 0 for each in samples],
        "ttfts": [each.ttft_s or 0.0 for each in samples],
        "itls": [gaps_s(each) if each.ok else [] for each in samples],
        "latencies": [each.e2el_s or 0.0 for each in samples],
        "start_times": [each.written_s for each in samples],
        "errors": [each.error for each in samples],
    }
    Path(options.result_dir, options.result_filename).write_text(json.dumps(document))
    if end == "after":
        sys.exit("stand-in vllm bench serve: not content with its result")


def measure(options: argparse.Namespace) -> LoadResult:
    if not Path(options.tokenizer).is_dir():
        sys.exit(f"stand-in vllm bench serve: no tokenizer in {options.tokenizer}")
    # vLLM asks through the environment's proxy; the client below never does.
    if "http" in getproxies() and not proxy_bypass(urlsplit(options.base_url).netloc):
        sys.exit(f"stand-in vllm bench serve: would ask {getproxies()['http']} for {options.base_url}")
    point = LoadPoint(
        concurrency=int(options.max_concurrency),
        num_prompts=int(options.num_prompts),
        isl=int(options.random_input_len),
        osl=int(options.random_output_len),
        model=options.model,
        random_range_ratio=float(options.random_range_ratio),
        seed=int(options.seed),
    )
    return NativeClient().measure(options.base_url, point, int(options.seed))


def child_that_hangs() -> int:
    return subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]).pid


def hang() -> None:
    threading.Event().wait()


main()
