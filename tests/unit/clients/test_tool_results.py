"""Result files of load generators, as samples.

The files in tests/data/clients are real: written by those versions against simulated servers of which some requests
failed, shortened, without texts. Those of benchmark_serving are made here of the fields that its source names.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.clients.aiperf import Aiperf
from pytest_disagg.clients.benchmark_serving import BenchmarkServing
from pytest_disagg.clients.protocol import LoadPoint
from pytest_disagg.clients.sglang_bench import SglangBench
from pytest_disagg.clients.tool.client import Load, NoResult, Reading, ToolClient
from pytest_disagg.clients.tool.run import Ran
from pytest_disagg.clients.vllm_bench import VllmBench
from pytest_disagg.records.summary import achieved_concurrency, max_in_flight, summarize

DATA = Path(__file__).resolve().parents[2] / "data" / "clients"
POINT = LoadPoint(concurrency=2, num_prompts=4, isl=16, osl=5, model="tiny")
LISTS: dict[str, list[Any]] = {
    "input_lens": [16, 16, 16, 16],
    "output_lens": [5, 5, 0, 5],
    "ttfts": [0.1, 0.2, 0.0, 0.1],
    "itls": [[0.1, 0.1, 0.1, 0.1], [0.1] * 4, [], [0.1] * 4],
    "errors": ["", "", "Traceback (most recent call last):\n  File x\nOSError: refused\n", ""],
}


def read(client: ToolClient, folder: Path, began_s: float = 100.0, **changes: Any) -> Reading:
    load = Load("http://h:1", replace(POINT, **changes), 0, folder)
    return client.read(load, Ran(began_s, began_s + 10))


def serving(folder: Path, **more: object) -> None:
    """A result of TensorRT-LLM's benchmark_serving with ``--save-detailed``."""
    document = {"duration": 1.2, **LISTS, "e2els": [0.5, 0.6, 0.0, 0.5], "generated_texts": [""] * 4, **more}
    (folder / "result.json").write_text(json.dumps(document))


def vllm(folder: Path, **more: object) -> None:
    """A result of ``vllm bench serve --save-detailed``."""
    latencies = {"latencies": [0.5, 0.6, 0.0, 0.5], "start_times": [50.0, 50.0, 50.5, 50.51]}
    (folder / "result.json").write_text(json.dumps({"duration": 1.1, **LISTS, **latencies, **more}))


def test_benchmark_serving(tmp_path: Path) -> None:
    serving(tmp_path)
    found = read(BenchmarkServing(), tmp_path)
    first, second, failed, last = found.samples
    assert [each.ok for each in found.samples] == [True, True, False, True]
    assert (failed.error, failed.output_tokens, failed.first_s) == ("OSError: refused", 0, None)
    assert (first.written_s, second.written_s) == (100.0, 100.0)
    assert first.chunk_s == pytest.approx((100.1, 100.2, 100.3, 100.4, 100.5))
    # It began when the first place was free again, after a pause that makes the whole last as long as it did.
    assert last.done_s == pytest.approx(101.2, abs=0.01)
    assert last.written_s == pytest.approx(100.7, abs=0.01)
    assert (last.output_tokens, last.asked_tokens, last.usage_reported) == (5, 5, True)
    assert found.duration_s == 1.2
    assert [note.partition(";")[0] for note in found.notes] == ["benchmark_serving: says no start times"]
    summary = summarize(found.samples, duration_s=found.duration_s, gpus=0, slo_ms={})
    assert summary["mean_tpot"] == pytest.approx(100.0)
    assert "al" not in summary


def test_a_null_is_nothing(tmp_path: Path) -> None:
    """As some versions write it for a request that failed."""
    serving(tmp_path, ttfts=[0.1, 0.2, None, 0.1], itls=[*LISTS["itls"][:2], None, LISTS["itls"][3]], errors=[None] * 4)
    samples = read(BenchmarkServing(), tmp_path).samples
    assert [each.ok for each in samples] == [True, True, False, True]
    assert samples[2].error == "failed, and the tool does not say why"


def test_benchmark_serving_without_streaming(tmp_path: Path) -> None:
    serving(tmp_path, ttfts=[-1, -1, 0.0, -1], itls=[[]] * 4)
    samples = read(BenchmarkServing(), tmp_path, streaming=False).samples
    assert [each.ok for each in samples] == [True, True, False, True]
    assert (samples[0].first_s, samples[0].chunk_s) == (None, ())
    assert samples[0].e2el_s == pytest.approx(0.5)


def test_benchmark_serving_with_speculation(tmp_path: Path) -> None:
    serving(tmp_path, avg_decoded_tokens_per_iter={"mean": 2.5, "min": 2.0})
    found = read(BenchmarkServing(), tmp_path)
    assert summarize(found.samples, duration_s=1.2, gpus=0, slo_ms={})["al"] == pytest.approx(2.5)


def test_lengths_that_only_the_tool_knows_are_not_held_against_anybody(tmp_path: Path) -> None:
    serving(tmp_path)
    found = read(BenchmarkServing(), tmp_path, random_range_ratio=0.5)
    assert {each.asked_tokens for each in found.samples} == {0}
    assert any("does not say how many tokens each request asked for" in note for note in found.notes)


def test_a_dataset_that_was_sent_whole(tmp_path: Path) -> None:
    serving(tmp_path)
    found = read(BenchmarkServing(), tmp_path, dataset_file=tmp_path / "d.jsonl", num_prompts=3)
    assert len(found.samples) == 4
    assert found.notes[-1] == "benchmark_serving: sent 4 requests, one per line of the dataset, not 3"


def test_requests_at_a_rate(tmp_path: Path) -> None:
    serving(tmp_path, duration=3.5)
    samples = read(BenchmarkServing(), tmp_path, request_rate=1.0).samples
    assert [each.written_s for each in samples] == pytest.approx([100.0, 101.0, 102.0, 103.0])


def test_vllm(tmp_path: Path) -> None:
    vllm(tmp_path)
    found = read(VllmBench(), tmp_path)
    assert [each.written_s for each in found.samples] == [50.0, 50.0, 50.5, 50.51]
    assert [each.e2el_s for each in found.samples] == pytest.approx([0.5, 0.6, None, 0.5])
    assert found.duration_s == pytest.approx(1.01)
    assert found.samples[2].error == "OSError: refused"
    assert max_in_flight(found.samples) == 2
    assert found.notes == ()


def test_vllm_as_it_really_writes(tmp_path: Path) -> None:
    text = (DATA / "vllm-0.33.0.json").read_text()
    (tmp_path / "result.json").write_text(text)
    document = json.loads(text)
    found = read(VllmBench(), tmp_path, num_prompts=12)
    assert [each.index for each in found.samples if not each.ok] == [5, 8, 10]
    assert {each.error for each in found.samples if not each.ok} == {"Internal Server Error"}
    summary = summarize(found.samples, duration_s=found.duration_s, gpus=0, slo_ms={})
    for name in ("mean_ttft", "p99_ttft", "mean_tpot", "median_itl", "mean_e2el"):
        assert summary[name] == pytest.approx(document[f"{name}_ms"]), name
    assert summary["total_output_tokens"] == document["total_output_tokens"]
    # Its duration holds its own work before the first request and after the last.
    assert found.duration_s <= document["duration"]


def test_vllm_before_there_were_latencies(tmp_path: Path) -> None:
    vllm(tmp_path, latencies=None)
    assert read(VllmBench(), tmp_path).samples[0].done_s == pytest.approx(50.5)


def test_vllm_knows_what_a_dataset_asks_for(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    lines = [{"input": {"messages": [{"role": "user", "content": "x"}], "max_tokens": 5 + i}} for i in range(4)]
    path.write_text("\n".join(map(json.dumps, lines)))
    vllm(tmp_path)
    found = read(VllmBench(), tmp_path, dataset_file=path)
    assert sorted(each.asked_tokens for each in found.samples) == [5, 6, 7, 8]
    assert found.notes == ()


@pytest.fixture
def sglang(tmp_path: Path) -> Path:
    text = (DATA / "sglang-0.5.23.jsonl").read_text()
    # Its file is appended to: the last line is the load's.
    (tmp_path / "result.jsonl").write_text('{"duration": 9}\n' + text)
    return tmp_path


def test_sglang(sglang: Path) -> None:
    found = read(SglangBench(), sglang, num_prompts=12)
    failed = [each.index for each in found.samples if not each.ok]
    assert (len(found.samples), failed) == (12, [3, 4, 5, 7])
    error = found.samples[3].error
    assert error.startswith("Internal Server Error: ")
    assert "SERVER_0 failed this request: fault fail_requests" in error
    first = found.samples[0]
    assert (first.prompt_tokens, first.output_tokens, first.usage_reported) == (16, 5, False)
    assert first.ttft_s == pytest.approx(0.0406036, abs=1e-6)
    assert max(each.done_s for each in found.samples) == pytest.approx(100.0 + found.duration_s, abs=0.01)
    assert 0 < (achieved_concurrency(found.samples) or 0) <= 2
    assert len(found.notes) == 2
    summary = summarize(found.samples, duration_s=found.duration_s, gpus=0, slo_ms={})
    document = json.loads((sglang / "result.jsonl").read_text().splitlines()[-1])
    for name in ("mean_ttft", "p99_ttft", "mean_itl"):
        assert summary[name] == pytest.approx(document[f"{name}_ms"]), name


def test_sglangs_own_api_counts_tokens(sglang: Path) -> None:
    found = read(SglangBench(), sglang, num_prompts=12, backend="sglang")
    first = found.samples[0]
    assert (first.output_tokens, first.asked_tokens, first.usage_reported) == (5, 5, True)
    assert len(found.notes) == 1


@pytest.fixture
def aiperf(tmp_path: Path) -> Path:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "profile_export.jsonl").write_text((DATA / "aiperf-0.13.0.jsonl").read_text())
    return tmp_path


def test_aiperf(aiperf: Path) -> None:
    found = read(Aiperf(), aiperf, num_prompts=6)
    assert [(each.index, each.ok) for each in found.samples] == [(i, i < 3) for i in range(6)]
    failed = found.samples[3]
    assert (failed.status, failed.error) == (500, "HTTP 500: SERVER_0 failed this request: fault fail_requests")
    lines = [json.loads(line) for line in (DATA / "aiperf-0.13.0.jsonl").read_text().splitlines()]
    for sample, line in zip(found.samples[:3], lines, strict=False):
        metrics = line["metrics"]
        assert sample.ttft_s == pytest.approx(metrics["time_to_first_token"]["value"] / 1000)
        assert sample.e2el_s == pytest.approx(metrics["request_latency"]["value"] / 1000, abs=1e-5)
        assert (sample.prompt_tokens, sample.output_tokens, sample.asked_tokens) == (16, 5, 5)
        assert (len(sample.chunk_s), sample.usage_reported) == (5, True)
    # Wall-clock stamps on our clock: their distances stay, and they lie in the past.
    started_ns = [line["metadata"]["request_start_ns"] for line in lines]
    assert found.samples[1].written_s - found.samples[0].written_s == pytest.approx(
        (started_ns[1] - started_ns[0]) / 1e9, abs=1e-5
    )
    assert found.samples[0].written_s < time.monotonic()


def test_aiperf_at_a_rate_knows_when_a_request_was_due(aiperf: Path) -> None:
    first = read(Aiperf(), aiperf, num_prompts=6, request_rate=5.0).samples[0]
    assert 0 < first.written_s - first.scheduled_s < 1
    assert first.scheduled_ttft_s is not None
    assert first.ttft_s is not None
    assert first.scheduled_ttft_s > first.ttft_s


def test_aiperf_says_that_it_sends_no_key(aiperf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert read(Aiperf(), aiperf, num_prompts=6).notes == ()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    (note,) = read(Aiperf(), aiperf, num_prompts=6).notes
    assert note.startswith("aiperf: OPENAI_API_KEY was not sent")


def test_aiperf_leaves_its_other_phases_out(aiperf: Path) -> None:
    path = aiperf / "artifacts" / "profile_export.jsonl"
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([first.replace('"benchmark_phase":"profiling"', '"benchmark_phase":"warmup"'), *rest]))
    assert [each.index for each in read(Aiperf(), aiperf, num_prompts=6).samples] == [1, 2, 3, 4, 5]


def test_the_line_that_says_why_aiperf_failed() -> None:
    lines = [
        "17:43:08.196 INFO     Using explicit dataset format: raw_payload (custom.py:65)",
        '17:43:08.197 ERROR    Dataset configuration failed: ValueError("x:1: no messages") (dataset_manager.py:193)',
        "17:43:08.204 ERROR    Failed to handle command profile_configure: x (base_component_service.py:522)",
        "Log File: /x/aiperf.log",
    ]
    assert Aiperf().cause(lines) == 'Dataset configuration failed: ValueError("x:1: no messages")'
    assert Aiperf().cause(["usage: aiperf", "unknown option --x"]) == "unknown option --x"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "result.json: no such file"),
        ("{", "result.json: Expecting property name"),
        ("[1]", "result.json: found a JSON list, expected an object"),
        ("{}", "duration: found None, expected a number"),
        ('{"duration": 1}', "input_lens: found nothing, expected a list"),
        (json.dumps({"duration": 1, **LISTS, "ttfts": [0, "x"]}), "ttfts[1]: found 'x', expected a number"),
        (json.dumps({"duration": 1, **LISTS, "itls": [[0.1], 0.1]}), "itls[1]: found 0.1, expected a list of numbers"),
        (json.dumps({"duration": 1, **LISTS, "itls": [["a"]]}), "itls[0]: found ['a'], expected a list of numbers"),
        (json.dumps({"duration": 1, **LISTS, "e2els": [], "errors": [5]}), "errors[0]: found 5, expected text"),
        (json.dumps({"duration": 1, **LISTS, "e2els": [1]}), "that differ in length: {'input_lens': 4, 'output_lens'"),
    ],
)
def test_a_result_that_cannot_be_used(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    with pytest.raises(NoResult) as found:
        read(BenchmarkServing(), tmp_path)
    assert said in str(found.value)


def test_an_export_of_aiperf_that_cannot_be_used(aiperf: Path, tmp_path: Path) -> None:
    path = aiperf / "artifacts" / "profile_export.jsonl"
    path.write_text(path.read_text() + '{"metadata": {}}\n')
    with pytest.raises(NoResult, match=r"profile_export\.jsonl:7: KeyError: 'conversation_id'"):
        read(Aiperf(), aiperf, num_prompts=6)
    path.unlink()
    with pytest.raises(NoResult, match=r"no file artifacts/profile_export\.jsonl"):
        read(Aiperf(), aiperf)
