"""TensorRT-LLM's ``benchmark_serving``: ``python -m tensorrt_llm.serve.scripts.benchmark_serving``.

The words of its command line are those of TensorRT-LLM's perf-sanity tests (2026), in their order, with
``--no-test-input`` always there: the warm-up is a load of its own. What stands after ``--trust-remote-code`` and before
``--host`` is ours: result file, seed, rate, and the served name where that is not the tokenizer's path. Result format:
tensorrt_llm/serve/scripts/benchmark_serving.py, main branch, 2026.

It says how long each request took and how long the load, not when a request started: see
:func:`pytest_disagg.clients.tool.times.taking_turns`.
"""

from __future__ import annotations

import re
from typing import Any

from pytest_disagg.clients.native.target import parse_target
from pytest_disagg.clients.tool.client import Command, Load, Reading, ToolClient, tokenizer_of
from pytest_disagg.clients.tool.lists import NO_LENGTHS, NO_STARTS, columns, number, read_object, request
from pytest_disagg.clients.tool.program import Program
from pytest_disagg.clients.tool.run import Ran
from pytest_disagg.clients.tool.times import placed

RESULT = "result.json"
LISTS = ("input_lens", "output_lens", "ttfts", "itls", "e2els", "errors")


class BenchmarkServing(ToolClient):
    """Random token ids made on the client, so ISL and OSL are exact; or a file of TensorRT-LLM's own form."""

    name = "benchmark_serving"
    program = Program(
        client=name,
        distribution="tensorrt_llm",
        install="install TensorRT-LLM (pip install tensorrt_llm)",
        module="tensorrt_llm.serve.scripts.benchmark_serving",
    )
    began = re.compile(r"^Maximum request concurrency:", re.MULTILINE)

    def command(self, load: Load) -> Command:
        point, path = load.point, tokenizer_of(load.point)
        words = ["--model", path, "--tokenizer", path]
        words += ["--num-prompts", str(point.num_prompts), "--max-concurrency", str(point.concurrency)]
        words += ["--percentile-metrics", "ttft,tpot,itl,e2el"]
        words += ["--ignore-eos"] if point.ignore_eos else []
        words += ["--no-test-input"]
        if point.dataset_file is not None:
            words += ["--dataset-name", "trtllm_custom", "--dataset-path", str(point.dataset_file.absolute())]
        else:
            words += ["--dataset-name", "random", "--random-ids", "--tokenize-on-client"]
            words += ["--random-input-len", str(point.isl), "--random-output-len", str(point.osl)]
            words += ["--random-range-ratio", f"{point.random_range_ratio:g}"]
        words += ["--backend", point.backend] if point.backend else []
        words += ["--use-chat-template"] if point.use_chat_template else []
        words += [] if point.streaming else ["--non-streaming"]
        words += ["--trust-remote-code"] if point.trust_remote_code else []
        words += ["--save-result", "--save-detailed", "--result-dir", str(load.folder), "--result-filename", RESULT]
        words += ["--seed", str(load.seed)]
        words += ["--request-rate", f"{point.request_rate:g}"] if point.request_rate is not None else []
        words += ["--served-model-name", point.model] if point.model != path else []
        return Command((*words, *_where(load.url)))

    def read(self, load: Load, ran: Ran) -> Reading:
        point, document = load.point, read_object(load.folder / RESULT)
        duration_s = number(document, "duration")
        known = point.dataset_file is None and not point.random_range_ratio
        requests = [
            request(
                ttft_s=ttft,
                gaps_s=itl,
                latency_s=e2el,
                prompt_tokens=prompt,
                output_tokens=output,
                asked_tokens=point.osl if known else 0,
                error=error,
                streaming=point.streaming,
                decoded_per_iter=_decoded(document),
            )
            for prompt, output, ttft, itl, e2el, error in columns(document, LISTS)
        ]
        samples = placed(requests, point, duration_s=duration_s, began_s=ran.began_s)
        notes = [NO_STARTS.format(self.name), *([] if known else [NO_LENGTHS.format(self.name)])]
        if len(samples) > point.num_prompts:
            notes.append(
                f"{self.name}: sent {len(samples)} requests, one per line of the dataset, not {point.num_prompts}"
            )
        return Reading(samples, duration_s, tuple(notes))


def _where(url: str) -> tuple[str, ...]:
    """Host and port as TensorRT-LLM's tests give them; the whole URL where there is more to it."""
    target = parse_target(url)
    if target.tls is not None or target.prefix:
        return ("--base-url", url.rstrip("/"))
    return ("--host", target.host, "--port", str(target.port))


def _decoded(document: dict[str, Any]) -> float | None:
    """The mean over all requests of the tokens decoded per iteration; single requests' are not in the file."""
    found = document.get("avg_decoded_tokens_per_iter")
    mean = found.get("mean") if isinstance(found, dict) else None
    return float(mean) if isinstance(mean, int | float) and mean > 0 else None
