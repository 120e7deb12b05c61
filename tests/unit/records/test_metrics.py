"""The metric table: names, directions, what gates."""

from __future__ import annotations

import pytest

from pytest_disagg.errors import UsageError
from pytest_disagg.records.metrics import METRICS, gating, measured_on_device, metric
from pytest_disagg.records.sample import RequestSample
from pytest_disagg.records.summary import summarize


def test_every_latency_is_better_when_smaller() -> None:
    for name in METRICS:
        if name.endswith(("ttft", "tpot", "itl", "e2el", "device_step_time")):
            assert METRICS[name].direction == "smaller", name
        if "throughput" in name or "goodput" in name:
            assert METRICS[name].direction == "larger", name


def test_names_of_the_older_records_are_all_there() -> None:
    older = {
        f"{statistic}_{name}" for statistic in ("mean", "median", "p99") for name in ("ttft", "tpot", "itl", "e2el")
    }
    older |= {"seq_throughput", "token_throughput", "total_token_throughput", "user_throughput", "al"}
    older |= {f"{s}_gen_worker_per_iter_device_step_time" for s in ("mean", "median", "std", "p75", "p99")}
    assert older <= set(METRICS)
    assert METRICS["median_tpot"].field == "d_median_tpot"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("seq_throughput", "Request throughput (req/s)"),
        ("total_token_throughput", "Total Token throughput (tok/s)"),
        ("p99_itl", "P99 ITL (ms)"),
        ("mean_gen_worker_per_iter_device_step_time", "Average Per Iter Device Step Time (ms)"),
        ("std_gen_worker_per_iter_device_step_time", "Stdev Per Iter Device Step Time (ms)"),
    ],
)
def test_labels_are_the_printed_ones(name: str, label: str) -> None:
    assert METRICS[name].label == label


def test_what_gates() -> None:
    gates = ("token_throughput", "total_token_throughput", "median_ttft", "median_tpot")
    steps = ("mean_gen_worker_per_iter_device_step_time", "median_gen_worker_per_iter_device_step_time")
    assert gating("e2e") == gates
    assert gating("aggregated", spec_decoding=True) == (*gates, "al")
    assert gating("gen_only") == gating("gen_only_no_context", spec_decoding=True) == steps
    assert measured_on_device("gen_only")
    assert not measured_on_device("ctx_only")
    assert {name for name, each in METRICS.items() if each.role == "gate"} == {*gates, *steps}


def test_smallest_effects() -> None:
    effects = [METRICS[name].min_effect for name in ("token_throughput", "median_ttft", "p99_ttft")]
    assert effects == [0.03, 0.05, 0.10]
    assert [METRICS[name].quantile for name in ("mean_ttft", "median_ttft", "p99_ttft")] == [None, 0.5, 0.99]


def test_everything_that_a_summary_has_is_a_metric() -> None:
    chunks = (1.0, 1.1, 1.2)
    sample = RequestSample(0, 0.5, 0.5, 1.0, 1.2, 1.2, chunks, 8, 3, 3, True, 200)
    summary = summarize([sample, sample], duration_s=1.0, gpus=2, slo_ms={"ttft": 1000.0})
    assert set(summary) <= set(METRICS)


def test_lookup() -> None:
    assert metric("D_MEDIAN_TTFT") is METRICS["median_ttft"]
    with pytest.raises(UsageError, match=r"median_tftt.*did you mean.*median_ttft"):
        metric("median_tftt")
