from __future__ import annotations

import json
from datetime import datetime

from pytest_disagg.clients.protocol import ClientHealth, LoadPoint, LoadResult
from pytest_disagg.clients.result_json import to_json
from pytest_disagg.records.sample import RequestSample
from pytest_disagg.records.summary import summarize


def sample(index: int, error: str = "") -> RequestSample:
    first, last = (None, None) if error else (1.5, 2.0)
    chunks = () if error else (1.5, 1.75, 2.0)
    return RequestSample(index, 1.0, 1.0, first, last, 2.5, chunks, 10, 5, 5, True, 500 if error else 200, error)


POINT = LoadPoint(concurrency=2, num_prompts=2, isl=10, osl=5, model="m", slo_ms={"ttft": 600})


def result(*samples: RequestSample, point: LoadPoint = POINT) -> LoadResult:
    health = ClientHealth(0.1, 1.0, 2.0, 0.3, "uvloop")
    return LoadResult(point, 1, samples, 1.5, 1.0, 2.0, 2, health, "native", "0.1.0", 1, ("a note",))


def test_the_names_are_the_others_and_the_units_theirs() -> None:
    samples = (sample(0), sample(1, "HTTP 500: x"))
    load = result(*samples)
    summary = summarize(samples, duration_s=1.5, gpus=2, slo_ms=POINT.slo_ms)
    document = to_json(load, summary, date=datetime(2026, 1, 2, 3, 4, 5))
    expected = {
        "date": "20260102-030405",
        "backend": "openai",
        "model_id": "m",
        "tokenizer_id": "m",
        "num_prompts": 2,
        "request_rate": "inf",
        "burstiness": 1.0,
        "max_concurrency": 2,
        "duration": 1.5,
        "completed": 1,
        "failed": 1,
        "total_input_tokens": 10,
        "total_output_tokens": 5,
        "request_throughput": 1 / 1.5,
        "request_goodput": 1 / 1.5,
        "output_throughput": 5 / 1.5,
        "total_token_throughput": 15 / 1.5,
        "user_throughput": 5.0,
        "mean_ttft_ms": 500.0,
        "p75_itl_ms": 250.0,
        "median_tpot_ms": 125.0,
        "p99_e2el_ms": 1000.0,
        "mean_scheduled_ttft_ms": 500.0,
        "input_lens": [10, 10],
        "output_lens": [5, 0],
        "ttfts": [0.5, 0.0],
        "itls": [[0.25, 0.25], []],
        "e2els": [1.0, 0.0],
        "errors": ["", "HTTP 500: x"],
        "achieved_concurrency": 2.0,
        "client_lag_p99_ms": 1.0,
        "client_cpu_ratio": 0.3,
        "repeat": 1,
        "reconnects": 1,
        "goodput_ratio": 0.5,
        "output_token_throughput_per_gpu": 5 / 1.5 / 2,
        "notes": ["a note"],
    }
    assert {key: document.get(key) for key in expected} == expected
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_statistics_without_data_are_left_out() -> None:
    samples = (sample(0, "x"), sample(1, "y"))
    document = to_json(result(*samples), summarize(samples, duration_s=1.5, gpus=0, slo_ms={}))
    assert not [key for key in document if key.startswith(("mean_", "p99_")) or key.endswith("_throughput")]
    assert document["completed"] == 0
    assert "request_goodput" not in document
