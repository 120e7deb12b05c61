"""``python -m sglang.bench_serving``. Command line and result file of SGLang 0.5.23 (sglang/benchmark/serving.py).

Two ways in. ``backend: openai`` (the default) is its ``sglang-oai``: ``/v1/completions``, with prompts as text that the
server tokenizes again, and without a request for ``usage``, so that output tokens are chunks. ``backend: sglang`` is
``/generate`` of SGLang's servers and router, with token ids (``--tokenize-prompt``) and the server's own counts: only
there is ISL exact and the answers' length known.

Its range of lengths is [len * ratio, len] where ours lies around len; words are translated. It says no start times: see
:func:`pytest_disagg.clients.tool.times.taking_turns`.
"""

from __future__ import annotations

import re

from pytest_disagg.clients.protocol import LoadPoint
from pytest_disagg.clients.tool.client import Command, Load, Reading, ToolClient, tokenizer_of
from pytest_disagg.clients.tool.lists import NO_LENGTHS, NO_STARTS, columns, number, read_object, request
from pytest_disagg.clients.tool.program import Program
from pytest_disagg.clients.tool.run import Ran
from pytest_disagg.clients.tool.times import placed
from pytest_disagg.errors import Problem

RESULT = "result.jsonl"
LISTS = ("input_lens", "output_lens", "ttfts", "itls", "errors")
OWN = "sglang"
"""The backend of a case file that means SGLang's own API."""
NO_USAGE = "{}: asks for no usage; output tokens are chunks, and the gate cannot hold answers to their length"


class SglangBench(ToolClient):
    """Random token ids (``random-ids``) alone: none of its datasets takes both a prompt and a length from a file."""

    name = "sglang_bench"
    program = Program(client=name, distribution="sglang", install="pip install sglang", module="sglang.bench_serving")
    began = re.compile(r"^Warmup completed|\d+/\d+ \[", re.MULTILINE)

    def refused(self, point: LoadPoint) -> list[Problem]:
        problems = []
        if point.dataset_file is not None:
            expected = "random prompts: sglang_bench takes no such file; native, aiperf and vllm_bench do"
            problems.append(Problem(None, None, "dataset_file", str(point.dataset_file), expected))
        if point.backend == OWN and point.use_chat_template:
            expected = "false: backend sglang is /generate, which has no chat; backend openai has"
            problems.append(Problem(None, None, "use_chat_template", "true", expected))
        return problems

    def command(self, load: Load) -> Command:
        point, path = load.point, tokenizer_of(load.point)
        own = point.backend == OWN
        words = ["--backend", OWN if own else "sglang-oai-chat" if point.use_chat_template else "sglang-oai"]
        words += ["--base-url", load.url.rstrip("/")]
        words += ["--model", path, "--tokenizer", path]
        words += ["--served-model-name", point.model] if point.model != path else []
        words += ["--dataset-name", "random-ids", *(["--tokenize-prompt"] if own else [])]
        ratio = point.random_range_ratio
        words += ["--random-input-len", str(int(point.isl * (1 + ratio)))]
        words += ["--random-output-len", str(int(point.osl * (1 + ratio)))]
        words += ["--random-range-ratio", _lower(ratio)]
        words += ["--num-prompts", str(point.num_prompts), "--max-concurrency", str(point.concurrency)]
        words += ["--request-rate", f"{point.request_rate:g}"] if point.request_rate is not None else []
        words += ["--seed", str(load.seed), "--warmup-requests", "0", "--ready-check-timeout-sec", "0"]
        words += [] if point.ignore_eos else ["--disable-ignore-eos"]
        words += [] if point.streaming else ["--disable-stream"]
        words += ["--output-file", str(load.folder / RESULT), "--output-details"]
        return Command(tuple(words))

    def read(self, load: Load, ran: Ran) -> Reading:
        point, document = load.point, read_object(load.folder / RESULT, last_line=True)
        duration_s = number(document, "duration")
        counted = point.backend == OWN
        known = not point.random_range_ratio
        requests = [
            request(
                ttft_s=ttft,
                gaps_s=itl,
                latency_s=ttft + sum(itl),
                prompt_tokens=prompt,
                output_tokens=output if counted else (1 + len(itl) if ttft else 0),
                asked_tokens=point.osl if known else 0,
                error=error,
                streaming=point.streaming,
                usage=counted,
            )
            for prompt, output, ttft, itl, error in columns(document, LISTS)
        ]
        samples = placed(requests, point, duration_s=duration_s, began_s=ran.began_s)
        unknown = [NO_USAGE] if not counted else [] if known else [NO_LENGTHS]
        return Reading(samples, duration_s, tuple(note.format(self.name) for note in (NO_STARTS, *unknown)))


def _lower(ratio: float) -> str:
    """The tool's ratio of the shortest to the longest length.

    A little more than that, so that a product that should be whole is not cut to the integer below.
    """
    return f"{min(1.0, (1 - ratio) / (1 + ratio) + 1e-9):.10g}"
