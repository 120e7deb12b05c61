"""``vllm bench serve``. Command line and result file of vLLM 0.33.0 (vllm/benchmarks/serve.py).

Its own warm-up (``--num-warmups``) and readiness check are off. Its start times are CLOCK_MONOTONIC, as ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from pytest_disagg.clients.prompts import prompts_of, variant
from pytest_disagg.clients.protocol import LoadPoint
from pytest_disagg.clients.tool.client import Command, Load, Reading, ToolClient, tokenizer_of
from pytest_disagg.clients.tool.lists import NO_LENGTHS, columns, read_object, request
from pytest_disagg.clients.tool.program import Program
from pytest_disagg.clients.tool.run import Ran
from pytest_disagg.clients.tool.times import sample
from pytest_disagg.errors import Problem

RESULT = "result.json"
PROMPTS = "prompts.jsonl"
LISTS = ("input_lens", "output_lens", "ttfts", "itls", "start_times", "errors")


class VllmBench(ToolClient):
    """Prompts of a file go through its dataset ``custom``, one by one as they are; random ones it makes itself."""

    name = "vllm_bench"
    program = Program(client=name, distribution="vllm", install="pip install vllm", command="vllm")
    began = re.compile(r"^Maximum request concurrency:", re.MULTILINE)

    def refused(self, point: LoadPoint) -> list[Problem]:
        if point.streaming:
            return []
        return [Problem(None, None, "streaming", "false", "true: vllm bench serve streams always; native does not")]

    def files(self, load: Load) -> Mapping[str, Iterable[bytes]]:
        if load.point.dataset_file is None:
            return {}
        prompts = prompts_of(load.point, variant(load.point, load.repeat)).prompts
        lines = ({"prompt": each.text, "output_tokens": each.output_tokens} for each in prompts)
        return {PROMPTS: (json.dumps(line).encode() + b"\n" for line in lines)}

    def command(self, load: Load) -> Command:
        point = load.point
        chat = point.use_chat_template
        words = ["bench", "serve", "--backend", "openai-chat" if chat else "openai", "--base-url", load.url.rstrip("/")]
        words += ["--endpoint", "/v1/chat/completions" if chat else "/v1/completions"]
        words += ["--model", point.model, "--tokenizer", tokenizer_of(point)]
        words += ["--trust-remote-code"] if point.trust_remote_code else []
        words += self._dataset(load)
        words += ["--num-prompts", str(point.num_prompts), "--max-concurrency", str(point.concurrency)]
        words += ["--request-rate", f"{point.request_rate:g}"] if point.request_rate is not None else []
        words += ["--seed", str(load.seed), "--temperature", "0"]
        words += ["--ignore-eos"] if point.ignore_eos else []
        words += ["--num-warmups", "0", "--ready-check-timeout-sec", "0"]
        words += ["--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "75,90,95,99"]
        words += ["--save-result", "--save-detailed", "--result-dir", str(load.folder), "--result-filename", RESULT]
        return Command(tuple(words))

    def read(self, load: Load, ran: Ran) -> Reading:
        document = read_object(load.folder / RESULT)
        rows = columns(document, LISTS)
        # Before 0.33 there was no list of latencies; they are what the other two add up to.
        found = document.get("latencies")
        latencies = found if isinstance(found, list) and len(found) == len(rows) else [0.0] * len(rows)
        asked = self._asked(load, len(rows))
        samples = tuple(
            sample(
                index,
                request(
                    ttft_s=ttft,
                    gaps_s=itl,
                    latency_s=latency,
                    prompt_tokens=prompt,
                    output_tokens=output,
                    asked_tokens=tokens,
                    error=error,
                    streaming=True,
                ),
                start,
            )
            for index, ((prompt, output, ttft, itl, start, error), latency, tokens) in enumerate(
                zip(rows, latencies, asked, strict=True)
            )
        )
        first, last = min((s.written_s for s in samples), default=0.0), max((s.done_s for s in samples), default=0.0)
        return Reading(samples, last - first, () if all(asked) else (NO_LENGTHS.format(self.name),))

    def _dataset(self, load: Load) -> list[str]:
        point = load.point
        if point.dataset_file is None:
            words = ["--dataset-name", "random", "--random-input-len", str(point.isl)]
            words += ["--random-output-len", str(point.osl), "--random-range-ratio", f"{point.random_range_ratio:g}"]
            return words
        words = ["--dataset-name", "custom", "--dataset-path", str(load.folder / PROMPTS), "--custom-output-len", "-1"]
        return [*words, "--skip-chat-template", "--disable-shuffle", "--no-oversample"]

    def _asked(self, load: Load, count: int) -> list[int]:
        """Tokens that each request asked for, 0 where only the tool knows."""
        point = load.point
        if point.dataset_file is not None:
            asked = [each.output_tokens for each in prompts_of(point, variant(point, load.repeat)).prompts]
            return asked if len(asked) == count else [0] * count
        return [0 if point.random_range_ratio else point.osl] * count
