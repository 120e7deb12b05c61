"""``aiperf profile``. Command line and ``profile_export.jsonl`` of AIPerf 0.13.0.

It is given the very requests that the native client would send, as a file of ready bodies (its dataset format
``inputs_json``), in order: same token ids, same lengths, same seed, whatever tokenizer the model has. Token counts are
the server's (``--use-server-token-count``). It loads a tokenizer all the same, so it gets a small one of ours, which
nothing is counted with.

It stamps each request in wall-clock nanoseconds; those are moved to CLOCK_MONOTONIC by the two clocks' distance when
the load has ended.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_disagg.clients.dataset import PromptSet
from pytest_disagg.clients.native.requests import RequestBuilder
from pytest_disagg.clients.native.target import parse_target
from pytest_disagg.clients.prompts import prompts_of, variant
from pytest_disagg.clients.tool.client import Command, Load, NoResult, Reading, ToolClient
from pytest_disagg.clients.tool.lists import UNSAID
from pytest_disagg.clients.tool.program import Program
from pytest_disagg.clients.tool.run import Ran
from pytest_disagg.clients.tool.times import Request, sample

REQUESTS = "inputs.json"
TOKENIZER = "tokenizer"
ARTIFACTS = "artifacts"
RECORDS = "profile_export.jsonl"
KEY = "OPENAI_API_KEY"
NO_KEY = f"aiperf: {KEY} was not sent: it takes a key only as a word of its command line, which everybody here can read"
_ENVIRONMENT = {
    # Its cache of datasets lies in the home directory and would keep every load's requests.
    "AIPERF_DATASET_MMAP_CACHE_ENABLED": "false",
    # Told to be offline (any text says so), it takes the path of a tokenizer for a name. It fetches nothing either way.
    "HF_HUB_OFFLINE": "",
    "TRANSFORMERS_OFFLINE": "",
}
_ERROR = re.compile(r"\d\d:\d\d:\d\d\S* +(?:ERROR|CRITICAL) +(.*?)(?: \(\w+\.py:\d+\))?$")
_MESSAGE_CHARS = 300


class Aiperf(ToolClient):
    """Sends what it is given; needs no tokenizer of the model and takes every kind of load that native takes."""

    name = "aiperf"
    program = Program(client=name, distribution="aiperf", install="pip install aiperf", command="aiperf")
    makes_prompts = False
    began = re.compile(r"Phase profiling \(profiling\) started|System state: ready -> profiling")

    def files(self, load: Load) -> Mapping[str, Iterable[bytes]]:
        prompts = prompts_of(load.point, variant(load.point, load.repeat))
        tokenizer = {f"{TOKENIZER}/{name}": [json.dumps(document).encode()] for name, document in _TOKENIZER.items()}
        return {REQUESTS: _bodies(load, prompts), **tokenizer}

    def command(self, load: Load) -> Command:
        point, folder = load.point, load.folder
        words = ["profile", "--model", point.model, "--url", load.url.rstrip("/")]
        words += ["--endpoint-type", "chat" if point.use_chat_template else "completions"]
        words += ["--streaming"] if point.streaming else []
        words += ["--custom-dataset-type", "inputs-json", "--input-file", str(folder / REQUESTS)]
        words += ["--dataset-sampling-strategy", "sequential", "--request-count", str(point.num_prompts)]
        words += ["--concurrency", str(point.concurrency)]
        if point.request_rate is not None:
            words += ["--request-rate", f"{point.request_rate:g}", "--arrival-pattern", "poisson"]
        words += ["--random-seed", str(load.seed), "--request-timeout-seconds", f"{point.request_timeout_s:g}"]
        words += ["--use-server-token-count", "--tokenizer", str(folder / TOKENIZER)]
        words += ["--export-level", "records", "--output-artifact-dir", str(folder / ARTIFACTS)]
        words += ["--no-gpu-telemetry", "--no-server-metrics", "--ui-type", "simple"]
        # What it maps into memory would else stay in the temporary folder when it is killed.
        return Command(tuple(words), {"AIPERF_DATASET_MMAP_BASE_PATH": str(folder), **_ENVIRONMENT})

    def read(self, load: Load, ran: Ran) -> Reading:
        prompts = prompts_of(load.point, variant(load.point, load.repeat))
        path = load.folder / ARTIFACTS / RECORDS
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise NoResult(f"no file {ARTIFACTS}/{RECORDS}") from None
        behind_s = time.time() - time.monotonic()
        found = {}
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
                if record["metadata"].get("benchmark_phase", "profiling") != "profiling":
                    continue
                index = int(str(record["metadata"]["conversation_id"]).removeprefix("r"))
                asked = prompts.prompts[index]
                written_s = record["metadata"]["request_start_ns"] / 1e9 - behind_s
                request = _request(record, asked.output_tokens, asked.tokens, load.point.streaming)
                due_s = record["metadata"].get("credit_issued_ns", 0) / 1e9 - behind_s
            except (ValueError, KeyError, TypeError, IndexError) as error:
                raise NoResult(f"{RECORDS}:{number}: {type(error).__name__}: {error}") from None
            scheduled_s = due_s if load.point.request_rate is not None and due_s > 0 else None
            found[index] = sample(index, request, written_s, scheduled_s=scheduled_s)
        samples = tuple(found[index] for index in sorted(found))
        first, last = min((s.written_s for s in samples), default=0.0), max((s.done_s for s in samples), default=0.0)
        return Reading(samples, last - first, (*prompts.notes, *([NO_KEY] if os.environ.get(KEY) else [])))

    def cause(self, lines: Sequence[str]) -> str:
        """The first error it logged; what follows are services that fail because of it."""
        errors = (found.group(1) for line in lines if (found := _ERROR.search(line)))
        return next(errors, "") or super().cause(lines)


def _request(record: Mapping[str, Any], asked_tokens: int, prompt_tokens: int, streaming: bool) -> Request:
    """One line of the export. Durations are in ms there."""
    metrics = record.get("metrics") or {}

    def value(name: str) -> Any:
        return (metrics.get(name) or {}).get("value")

    error = record.get("error")
    metadata = record["metadata"]
    whole_s = (metadata["request_end_ns"] - metadata["request_start_ns"]) / 1e9
    gaps = value("inter_chunk_latency") or ()
    ttft = value("time_to_first_token")
    output = value("usage_completion_tokens")
    return Request(
        ttft_s=ttft / 1000 if streaming and ttft is not None and not error else None,
        gaps_s=tuple(gap / 1000 for gap in gaps) if streaming and not error else (),
        latency_s=whole_s if error or not streaming else 0.0,
        prompt_tokens=int(value("usage_prompt_tokens") or prompt_tokens),
        output_tokens=int(output) if output is not None else len(gaps) + (ttft is not None),
        asked_tokens=asked_tokens,
        usage=output is not None,
        status=_status(error) if error else 200,
        error=_told(error) if error else "",
    )


def _status(error: Mapping[str, Any]) -> int:
    code = error.get("code")
    return code if isinstance(code, int) and 100 <= code < 600 else 0


def _told(error: Mapping[str, Any]) -> str:
    """An error as the native client words it: ``HTTP 500: message``, else its type and message."""
    message = str(error.get("message") or "")
    try:
        message = json.loads(message)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = " ".join(message.split())
    head = f"HTTP {status}" if (status := _status(error)) else str(error.get("type") or "")
    return ": ".join(part for part in (head, message[:_MESSAGE_CHARS]) if part) or UNSAID


def _bodies(load: Load, prompts: PromptSet) -> Iterator[bytes]:
    """The parts of an inputs file: a session of one request for each prompt, ``r0``, ``r1``, ..."""
    builder = RequestBuilder(parse_target(load.url), load.point, prompts)
    yield b'{"data":['
    for index in range(len(prompts.prompts)):
        yield b'%b{"session_id":"r%d","payloads":[%b]}' % (b"," if index else b"", index, builder.body(index))
    yield b"]}\n"


_TOKENIZER: Mapping[str, Mapping[str, Any]] = {
    "tokenizer.json": {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"},
    },
    "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"},
}
