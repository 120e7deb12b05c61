"""The command line of every load generator, to the last word, and what it refuses before it starts."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.clients.aiperf import Aiperf
from pytest_disagg.clients.benchmark_serving import BenchmarkServing
from pytest_disagg.clients.dataset import random_prompts
from pytest_disagg.clients.prompts import prompts_of, variant
from pytest_disagg.clients.protocol import LoadPoint
from pytest_disagg.clients.sglang_bench import SglangBench
from pytest_disagg.clients.tool.client import Load, ToolClient
from pytest_disagg.clients.vllm_bench import VllmBench
from pytest_disagg.errors import ConfigError

URL = "http://node1:8000"
POINT = LoadPoint(concurrency=4, num_prompts=32, isl=64, osl=16, model="some", tokenizer="org/some")


def words(client: ToolClient, folder: Path, *, url: str = URL, repeat: int = 0, **changes: Any) -> str:
    """The command line as it would be typed, with the load's folder as ``F``."""
    load = Load(url, replace(POINT, **changes), repeat, folder)
    return shlex.join(client.command(load).words).replace(str(folder), "F")


def read(client: ToolClient, folder: Path, name: str, *, repeat: int = 0, **changes: Any) -> str:
    """What the tool is to find in that file of the load's folder."""
    return b"".join(client.files(Load(URL, replace(POINT, **changes), repeat, folder))[name]).decode()


def dataset(folder: Path, lines: int = 2) -> Path:
    path = folder / "dataset.jsonl"
    requests = [
        {"input": {"messages": [{"role": "user", "content": f"prompt {i}"}], "max_tokens": 10 + i}}
        for i in range(lines)
    ]
    path.write_text("\n".join(json.dumps(each) for each in requests))
    return path


def test_benchmark_serving(tmp_path: Path) -> None:
    client = BenchmarkServing()
    assert words(client, tmp_path) == (
        "--model org/some --tokenizer org/some --num-prompts 32 --max-concurrency 4 "
        "--percentile-metrics ttft,tpot,itl,e2el --ignore-eos --no-test-input "
        "--dataset-name random --random-ids --tokenize-on-client --random-input-len 64 --random-output-len 16 "
        "--random-range-ratio 0 --backend openai "
        "--save-result --save-detailed --result-dir F --result-filename result.json --seed 0 "
        "--served-model-name some --host node1 --port 8000"
    )
    more: dict[str, Any] = {"streaming": False, "use_chat_template": True, "trust_remote_code": True}
    found = words(
        client, tmp_path, repeat=1, ignore_eos=False, random_range_ratio=0.2, model="org/some", request_rate=2.5, **more
    )
    assert found == (
        "--model org/some --tokenizer org/some --num-prompts 32 --max-concurrency 4 "
        "--percentile-metrics ttft,tpot,itl,e2el --no-test-input "
        "--dataset-name random --random-ids --tokenize-on-client --random-input-len 64 --random-output-len 16 "
        "--random-range-ratio 0.2 --backend openai --use-chat-template --non-streaming --trust-remote-code "
        "--save-result --save-detailed --result-dir F --result-filename result.json --seed 1 --request-rate 2.5 "
        "--host node1 --port 8000"
    )


def test_benchmark_serving_takes_a_dataset_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = words(BenchmarkServing(), tmp_path, dataset_file=dataset(tmp_path).relative_to(tmp_path))
    assert "--no-test-input --dataset-name trtllm_custom --dataset-path F/dataset.jsonl --backend openai" in found
    assert "--random" not in found


@pytest.mark.parametrize("url", ["https://node1:8443", "http://node1:8000/prefix"])
def test_benchmark_serving_is_given_the_whole_url_where_there_is_more_to_it(tmp_path: Path, url: str) -> None:
    assert words(BenchmarkServing(), tmp_path, url=url).endswith(f"--served-model-name some --base-url {url}")


def test_vllm_bench(tmp_path: Path) -> None:
    client = VllmBench()
    head = f"bench serve --backend openai --base-url {URL} --endpoint /v1/completions --model some --tokenizer org/some"
    tail = (
        "--temperature 0 --ignore-eos --num-warmups 0 --ready-check-timeout-sec 0 "
        "--percentile-metrics ttft,tpot,itl,e2el --metric-percentiles 75,90,95,99 "
        "--save-result --save-detailed --result-dir F --result-filename result.json"
    )
    assert words(client, tmp_path) == (
        f"{head} --dataset-name random --random-input-len 64 --random-output-len 16 --random-range-ratio 0 "
        f"--num-prompts 32 --max-concurrency 4 --seed 0 {tail}"
    )
    found = words(client, tmp_path, repeat=2, use_chat_template=True, trust_remote_code=True, request_rate=8.0)
    assert found == (
        f"bench serve --backend openai-chat --base-url {URL} --endpoint /v1/chat/completions --model some "
        "--tokenizer org/some --trust-remote-code "
        "--dataset-name random --random-input-len 64 --random-output-len 16 --random-range-ratio 0 "
        f"--num-prompts 32 --max-concurrency 4 --request-rate 8 --seed 2 {tail}"
    )


def test_vllm_bench_is_given_the_prompts_of_a_dataset_in_their_order(tmp_path: Path) -> None:
    path = dataset(tmp_path, lines=3)
    asked: dict[str, Any] = {"dataset_file": path, "num_prompts": 5, "seed": 7}
    found = words(VllmBench(), tmp_path, **asked)
    assert (
        "--dataset-name custom --dataset-path F/prompts.jsonl --custom-output-len -1 --skip-chat-template "
        "--disable-shuffle --no-oversample --num-prompts 5" in found
    )
    written = [json.loads(line) for line in read(VllmBench(), tmp_path, "prompts.jsonl", **asked).splitlines()]
    prompts = prompts_of(replace(POINT, **asked), "").prompts
    assert written == [{"prompt": each.text, "output_tokens": each.output_tokens} for each in prompts]


def test_sglang_bench(tmp_path: Path) -> None:
    client = SglangBench()
    tail = "--warmup-requests 0 --ready-check-timeout-sec 0 --output-file F/result.jsonl --output-details"
    assert words(client, tmp_path) == (
        f"--backend sglang-oai --base-url {URL} --model org/some --tokenizer org/some --served-model-name some "
        "--dataset-name random-ids --random-input-len 64 --random-output-len 16 --random-range-ratio 1 "
        f"--num-prompts 32 --max-concurrency 4 --seed 0 {tail}"
    )
    own = words(client, tmp_path, backend="sglang", model="org/some", request_rate=3.0, repeat=1)
    assert own == (
        f"--backend sglang --base-url {URL} --model org/some --tokenizer org/some "
        "--dataset-name random-ids --tokenize-prompt --random-input-len 64 --random-output-len 16 "
        f"--random-range-ratio 1 --num-prompts 32 --max-concurrency 4 --request-rate 3 --seed 1 {tail}"
    )
    found = words(client, tmp_path, use_chat_template=True, streaming=False, ignore_eos=False)
    assert found.startswith("--backend sglang-oai-chat ")
    assert "--disable-ignore-eos --disable-stream --output-file" in found


@pytest.mark.parametrize(("length", "ratio"), [(1000, 0.2), (64, 0.5), (10, 0.25), (1, 0.9), (8192, 0.8), (7, 0.0)])
def test_sglang_benchs_range_of_lengths_is_ours(tmp_path: Path, length: int, ratio: float) -> None:
    found = words(SglangBench(), tmp_path, isl=length, random_range_ratio=ratio).split()
    longest = int(found[found.index("--random-input-len") + 1])
    lower = float(found[found.index("--random-range-ratio") + 1])
    # sglang/benchmark/datasets/common.py: randint(max(int(len * ratio), 1), len + 1)
    shortest = max(int(longest * lower), 1)
    lengths = [each.tokens for each in random_prompts(3000, isl=length, osl=1, range_ratio=ratio).prompts]
    assert abs(shortest - min(lengths)) <= 1 + length // 500
    assert abs(longest - max(lengths)) <= 1 + length // 500


def test_aiperf(tmp_path: Path) -> None:
    client = Aiperf()
    tail = (
        "--use-server-token-count --tokenizer F/tokenizer --export-level records --output-artifact-dir F/artifacts "
        "--no-gpu-telemetry --no-server-metrics --ui-type simple"
    )
    assert words(client, tmp_path) == (
        f"profile --model some --url {URL} --endpoint-type completions --streaming "
        "--custom-dataset-type inputs-json --input-file F/inputs.json --dataset-sampling-strategy sequential "
        f"--request-count 32 --concurrency 4 --random-seed 0 --request-timeout-seconds 600 {tail}"
    )
    found = words(client, tmp_path, use_chat_template=True, streaming=False, request_rate=1.5, request_timeout_s=30.0)
    assert found == (
        f"profile --model some --url {URL} --endpoint-type chat "
        "--custom-dataset-type inputs-json --input-file F/inputs.json --dataset-sampling-strategy sequential "
        "--request-count 32 --concurrency 4 --request-rate 1.5 --arrival-pattern poisson --random-seed 0 "
        f"--request-timeout-seconds 30 {tail}"
    )


def test_aiperf_is_not_told_to_be_offline_and_keeps_nothing_elsewhere(tmp_path: Path) -> None:
    assert Aiperf().command(Load(URL, POINT, 0, tmp_path)).env == {
        "AIPERF_DATASET_MMAP_BASE_PATH": str(tmp_path),
        "AIPERF_DATASET_MMAP_CACHE_ENABLED": "false",
        "HF_HUB_OFFLINE": "",
        "TRANSFORMERS_OFFLINE": "",
    }


def test_aiperf_sends_the_requests_that_native_would_send(tmp_path: Path) -> None:
    sessions = json.loads(read(Aiperf(), tmp_path, "inputs.json", random_range_ratio=0.5, repeat=1))["data"]
    assert [each["session_id"] for each in sessions] == [f"r{index}" for index in range(32)]
    point = replace(POINT, random_range_ratio=0.5)
    prompts = prompts_of(point, variant(point, 1))
    for prompt, session in zip(prompts.prompts, sessions, strict=True):
        (body,) = session["payloads"]
        assert body == {
            "model": "some",
            "prompt": [(prompt.first + k) % prompts.vocab for k in range(prompt.tokens)],
            "max_tokens": prompt.output_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
            "ignore_eos": True,
        }


def test_aiperf_sends_the_messages_of_a_dataset(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"dataset_file": dataset(tmp_path), "num_prompts": 2, "use_chat_template": True}
    sessions = json.loads(read(Aiperf(), tmp_path, "inputs.json", **asked))["data"]
    bodies = [session["payloads"][0] for session in sessions]
    assert sorted((body["messages"][0]["content"], body["max_tokens"]) for body in bodies) == [
        ("prompt 0", 10),
        ("prompt 1", 11),
    ]


def refused(client: ToolClient, **changes: Any) -> list[str]:
    return [str(problem) for problem in client.check(replace(POINT, **changes))]


@pytest.mark.parametrize("client", [BenchmarkServing(), VllmBench(), SglangBench()], ids=lambda client: client.name)
def test_a_tool_that_makes_prompts_needs_the_models_tokenizer(client: ToolClient, tmp_path: Path) -> None:
    (problem,) = refused(client, tokenizer="", model="tiny")
    assert problem.startswith("metadata.model_name: found 'tiny', which is no folder here, expected a folder with its")
    assert "environment.model_path or --disagg-models-root" in problem
    assert refused(client, tokenizer=str(tmp_path)) == refused(client, tokenizer="org/model") == []
    (problem,) = refused(client, tokenizer=str(tmp_path / "gone"))
    assert "gone', which is no folder here" in problem


def test_aiperf_needs_no_tokenizer() -> None:
    assert refused(Aiperf(), tokenizer="", model="tiny") == []


def test_what_a_tool_cannot_send_is_said_with_who_can(tmp_path: Path) -> None:
    assert refused(VllmBench(), streaming=False) == [
        "streaming: found false, expected true: vllm bench serve streams always; native does not"
    ]
    path = dataset(tmp_path)
    assert refused(SglangBench(), dataset_file=path) == [
        f"dataset_file: found {path}, expected random prompts: sglang_bench takes no such file; native, aiperf and "
        "vllm_bench do"
    ]
    (problem,) = refused(SglangBench(), backend="sglang", use_chat_template=True)
    assert problem.startswith("use_chat_template: found true, expected false: backend sglang is /generate")


def test_a_load_that_cannot_be_sent_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="num_prompts: found 0, expected a number above 0"):
        Aiperf().measure(URL, replace(POINT, num_prompts=0, files=tmp_path / "files"), 0)
    assert not (tmp_path / "files").exists()
