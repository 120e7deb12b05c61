"""Samples and a measured window: means, maxima, and nothing where nothing is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pytest_disagg.telemetry.join import Joined, Window, join
from pytest_disagg.telemetry.reading import Sample, Source, append, path_of

HERE = Window("n1", monotonic_s=100.0, epoch_s=5000.0, duration_s=10.0)


def at(
    second: float,
    source: Source,
    values: Mapping[str, float],
    *,
    kind: str = "gen",
    name: str = "",
    node: str = "n1",
    text: str = "",
) -> Sample:
    """A sample so many seconds after the window began, by both clocks of its node."""
    return Sample(100.0 + second, 5000.0 + second, node, kind, source, name, values, text)


def joined(
    tmp_path: Path, files: Mapping[str, Sequence[Sample]], also: Sequence[str] = (), window: Window = HERE
) -> Joined[str]:
    for role, samples in files.items():
        path = path_of(tmp_path, role)
        path.parent.mkdir(exist_ok=True)
        append(path, samples)
    return join(tmp_path, list(files), {"w": window}, also)


def metrics(
    tmp_path: Path, files: Mapping[str, Sequence[Sample]], also: Sequence[str] = (), window: Window = HERE
) -> dict[str, float]:
    return joined(tmp_path, files, also, window).metrics["w"]


def test_what_lies_outside_of_the_window_does_not_count(tmp_path: Path) -> None:
    samples = [
        at(second, "gpu", {"util_percent": value}, name="0") for second, value in ((-1, 1), (0, 50), (10, 90), (11, 2))
    ]
    assert metrics(tmp_path, {"GEN_0": samples}) == {
        "tm_gen_gpu_util_percent_mean": 70.0,
        "tm_gen_gpu_util_percent_max": 90.0,
        "tm_gpu_util_percent_mean": 70.0,
        "tm_gpu_util_percent_max": 90.0,
    }


def test_no_samples_no_fields(tmp_path: Path) -> None:
    assert metrics(tmp_path, {}) == {}
    assert metrics(tmp_path, {"GEN_0": [at(-2, "gpu", {"util_percent": 3}), at(30, "host", {"load_1min": 3})]}) == {}


def test_gpus_of_both_kinds_count_apart_and_together(tmp_path: Path) -> None:
    found = metrics(
        tmp_path,
        {
            "GEN_0": [at(1, "gpu", {"power_w": 600.0}, name="0"), at(1, "gpu", {"power_w": 700.0}, name="1")],
            "CTX_0": [at(1, "gpu", {"power_w": 200.0}, kind="ctx", name="2")],
        },
    )
    assert found == {
        "tm_ctx_gpu_power_w_mean": 200.0,
        "tm_ctx_gpu_power_w_max": 200.0,
        "tm_gen_gpu_power_w_mean": 650.0,
        "tm_gen_gpu_power_w_max": 700.0,
        "tm_gpu_power_w_mean": 500.0,
        "tm_gpu_power_w_max": 700.0,
    }


def test_a_gpu_that_two_roles_sample_counts_once(tmp_path: Path) -> None:
    found = metrics(
        tmp_path,
        {
            "GEN_0": [at(1, "gpu", {"util_percent": 10.0}, name="0")],
            "GEN_1": [at(1, "gpu", {"util_percent": 90.0}, name="0")],
        },
    )
    assert found["tm_gpu_util_percent_mean"] == found["tm_gen_gpu_util_percent_max"] == 10.0


def test_a_machine_counts_once_for_each_kind_on_it(tmp_path: Path) -> None:
    def host(second: float, load: float, kind: str, node: str) -> Sample:
        return at(second, "host", {"load_1min": load}, kind=kind, node=node)

    found = metrics(
        tmp_path,
        {
            "GEN_0": [host(1, 1.0, "gen", "n1")],
            "GEN_1": [host(2, 9.0, "gen", "n1")],
            "GEN_2": [host(2, 2.0, "gen", "n2")],
            "CTX_0": [host(3, 3.0, "ctx", "n1")],
            "BENCHMARK": [host(4, 4.0, "client", "n1")],
        },
    )
    # CTX servers share the client's machine and no other: its host fields are theirs.
    assert found == {"tm_gen_host_load_1min_max": 2.0, "tm_client_host_load_1min_max": 4.0}


def test_another_node_is_placed_by_wall_clock_and_ours_by_monotonic(tmp_path: Path) -> None:
    def sample(monotonic_s: float, epoch_s: float, node: str, value: float) -> Sample:
        return Sample(monotonic_s, epoch_s, node, "gen", "gpu", node, {"temperature_c": value})

    found = metrics(
        tmp_path,
        {
            # Another node's monotonic clock began at another time; ours was set back in the middle of the load.
            "GEN_0": [sample(7.0, 5001.0, "n2", 50.0), sample(105.0, 6000.0, "n2", 99.0)],
            "GEN_1": [sample(103.0, 1400.0, "n1", 60.0), sample(90.0, 5001.0, "n1", 98.0)],
        },
    )
    assert found["tm_gen_gpu_temperature_c_max"] == 60.0


def test_a_rate_that_began_before_the_window_is_not_of_it(tmp_path: Path) -> None:
    values = ((-0.5, 90.0), (0.5, 80.0), (1.5, 10.0), (2.5, 20.0))
    found = metrics(
        tmp_path, {"GEN_0": [at(second, "process", {"cpu_percent": each, "rss_mib": each}) for second, each in values]}
    )
    assert found["tm_gen_process_cpu_percent_mean"] == 15.0
    assert found["tm_gen_process_rss_mib_max"] == 80.0


def test_engines_have_their_own_names_and_series(tmp_path: Path) -> None:
    found = metrics(
        tmp_path,
        {
            "GEN_0": [
                at(
                    1,
                    "engine",
                    {'vllm:num_requests_running{engine="0"}': 3, 'vllm:num_requests_running{engine="1"}': 5},
                ),
                at(2, "engine", {'vllm:num_requests_running{engine="1"}': 7}),
            ],
            "CTX_0": [
                at(
                    1,
                    "engine",
                    {
                        'sglang:num_queue_reqs{tp="0"}': 4,
                        'sglang:token_usage{tp="0"}': 0.5,
                        'sglang:token_usage{tp="1"}': 0.25,
                    },
                    kind="ctx",
                ),
                at(2, "engine", {'sglang:token_usage{tp="0"}': 0.75}, kind="ctx"),
            ],
        },
    )
    assert found == {
        "tm_gen_engine_requests_running_mean": 9.0,
        "tm_gen_engine_requests_running_max": 10.0,
        "tm_ctx_engine_requests_waiting_mean": 4.0,
        "tm_ctx_engine_requests_waiting_max": 4.0,
        "tm_ctx_engine_kv_cache_usage_mean": 0.4375,
        "tm_ctx_engine_kv_cache_usage_max": 0.5,
    }


def test_metrics_that_the_case_names_go_into_the_record_counters_as_rates(tmp_path: Path) -> None:
    also = ("vllm:prompt_tokens_total", "spec_accept_length", "restarted_total")
    first = {'vllm:prompt_tokens_total{e="0"}': 100, 'vllm:prompt_tokens_total{e="1"}': 100, "restarted_total": 50}
    found = metrics(
        tmp_path,
        {
            "CTX_0": [
                at(-5, "engine", {**first, "spec_accept_length": 9.0}, kind="ctx"),
                at(1, "engine", {'vllm:prompt_tokens_total{e="0"}': 200, "spec_accept_length": 2.0}, kind="ctx"),
                at(5, "engine", {'vllm:prompt_tokens_total{e="1"}': 300, "restarted_total": 0}, kind="ctx"),
            ],
            "CTX_1": [
                at(2, "engine", {"vllm:prompt_tokens_total": 0}, kind="ctx"),
                at(4, "engine", {"vllm:prompt_tokens_total": 20}, kind="ctx"),
            ],
        },
        also,
    )
    assert found == {
        # 300 -> 500 in 4 s on the one, 0 -> 20 in 2 s on the other.
        "tm_ctx_engine_vllm_prompt_tokens_total_per_s": 60.0,
        "tm_ctx_engine_spec_accept_length_mean": 2.0,
        "tm_ctx_engine_spec_accept_length_max": 2.0,
    }


def test_metrics_that_no_server_has_are_noted(tmp_path: Path) -> None:
    also = ("misspelt_total", "running", "other")
    found = joined(tmp_path, {"GEN_0": [at(-1, "engine", {'running{e="0"}': 1.0})]}, also)
    assert found.notes == ["telemetry.metrics: no server gave misspelt_total, other"]


def test_several_windows_are_joined_in_one_pass(tmp_path: Path) -> None:
    path = path_of(tmp_path, "GEN_0")
    path.parent.mkdir()
    append(path, [at(second, "process", {"open_files": float(second)}) for second in range(20)])
    later = Window("n1", 110.5, 5010.5, 5.0)
    found = join(tmp_path, ["GEN_0"], {"a": HERE, "b": later}).metrics
    assert found == {"a": {"tm_gen_process_open_files_max": 10.0}, "b": {"tm_gen_process_open_files_max": 15.0}}


def test_notes_come_with_role_and_node(tmp_path: Path) -> None:
    found = joined(tmp_path, {"GEN_0": [at(-9, "note", {}, text="no GPU samples: why", node="n3")]})
    assert found.notes == ["GEN_0 on n3: no GPU samples: why"]


def test_a_file_that_cannot_be_read_is_said_and_the_others_are_joined(tmp_path: Path) -> None:
    path_of(tmp_path, "CTX_0").mkdir(parents=True)
    append(path_of(tmp_path, "GEN_0"), [at(1, "process", {"open_files": 3.0})])
    found = join(tmp_path, ["CTX_0", "GEN_0"], {"w": HERE})
    assert found.metrics["w"] == {"tm_gen_process_open_files_max": 3.0}
    assert len(found.problems) == 1
    assert "Is a directory" in found.problems[0]


def test_bits_of_throttling_are_kept_and_not_averaged(tmp_path: Path) -> None:
    samples = [
        at(second, "gpu", {"throttle_reasons": 4, "power_capped": value, "slowed": 0}, name="0")
        for second, value in ((1, 1), (2, 0))
    ]
    found = metrics(tmp_path, {"GEN_0": samples})
    assert found["tm_gen_gpu_power_capped_mean"] == pytest.approx(0.5)
    assert not [name for name in found if "reasons" in name or name.endswith("capped_max")]
