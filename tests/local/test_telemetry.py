"""Runs that are sampled, and one that is not: files beside the records, fields in them, a figure in the page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.report.figures.choice import TELEMETRY, figures_of
from pytest_disagg.report.read import read_case
from pytest_disagg.telemetry.reading import path_of, read, windows_of

COMMON = """
engine: sim
metadata: {model_name: tiny}
slurm: {timeout: 900}
timeouts: {launch_s: 120, ready_s: 120, probe_s: 60, warmup_s: 60, stall_s: 60, store_s: 60, stop_s: 60, grace_s: 1}
gate: {max_client_lag_ms: 10000, max_client_cpu: 50}
sim: {decode_step_ms: 20}
"""
PAIR = """
cases: [disagg-e2e]
hardware: {gpus_per_node: 4, num_ctx_servers: 1, num_gen_servers: 1}
benchmark: {concurrency_list: 4, multi_round: 1, input_length: 16, output_length: 60}
worker_config: {ctx: {}, gen: {}}
telemetry: {interval_s: 0.1, metrics: [sim_generation_tokens_total, sim_misspelt]}
"""
ALONE = """
cases: [aggr]
hardware: {gpus_per_node: 4}
server_configs:
  - name: one
    client_configs: [{concurrency: 2, iterations: 1, isl: 16, osl: 30}]
"""


def played(tmp_path: Path, text: str, *options: str) -> tuple[Path, list[dict[str, Any]]]:
    """The run directory of a case, and its records."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "x.yaml").write_text(COMMON + text)
    (tmp_path / "test_it.py").write_text("def test_e2e(disagg_case):\n    disagg_case.run()\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\ndisagg_config_dir = configs\n")
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("DISAGG_", "SLURM_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--disagg-history=none", *options]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**environ, "DISAGG_HTML": "none"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "disagg-runs").glob("*/*")
    return folder, [json.loads(line) for line in (folder / "results/records.jsonl").read_text().splitlines()]


def test_every_role_samples_and_the_measured_time_is_joined(tmp_path: Path) -> None:
    folder, (record,) = played(tmp_path, PAIR)
    results = folder / "results"
    sources = {
        role: {sample.source for sample in read(path_of(results, role))}
        for role in ("GEN_0", "CTX_0", "DISAGG_SERVER", "BENCHMARK")
    }
    assert sources == {
        "GEN_0": {"host", "process", "engine"},
        "CTX_0": {"host", "process", "engine"},
        "DISAGG_SERVER": {"process", "engine"},
        "BENCHMARK": {"host", "process"},
    }
    joined = {name: value for name, value in record.items() if name.startswith("d_tm_")}
    # The GEN server never had more than the load's concurrency, and had that many while it was measured.
    assert joined["d_tm_gen_engine_requests_running_max"] == 4
    assert 0 < joined["d_tm_gen_engine_requests_running_mean"] <= 4
    assert joined["d_tm_ctx_engine_requests_waiting_max"] <= 4
    for name in ("client_host_memory_percent_max", "client_process_rss_mib_max", "coordinator_process_open_files_max"):
        assert joined[f"d_tm_{name}"] > 0
    assert not [name for name in joined if "gpu" in name or name.startswith("d_tm_gen_host")]
    (window,) = json.loads(windows_of(results).read_text())["windows"]
    assert window["point"] == "con4"
    assert window["duration_s"] == pytest.approx(record["d_duration_s"], abs=0.01)
    # Its own counter, from the first sample in the window to the last.
    counted = [
        (sample.monotonic_s, sample.values["sim_generation_tokens_total"])
        for sample in read(path_of(results, "GEN_0"), {"sim_generation_tokens_total"})
        if sample.source == "engine" and 0 <= sample.monotonic_s - window["monotonic_s"] <= window["duration_s"]
    ]
    seconds, tokens = (last - first for first, last in zip(counted[0], counted[-1], strict=True))
    assert 0 < tokens <= 4 * 60
    rate = joined["d_tm_gen_engine_sim_generation_tokens_total_per_s"]
    assert rate == pytest.approx(tokens / seconds, rel=1e-3)
    outcome = json.loads((folder / "outcome.json").read_text())
    assert "telemetry.metrics: no server gave sim_misspelt" in outcome["lines"]
    assert not [name for name in outcome["metrics"]["con4"] if "tm_" in name]
    case = read_case(folder)
    assert case.problems == ()
    assert figures_of(case)[-1].kind == TELEMETRY


def test_a_case_that_samples_nothing_leaves_nothing_behind(tmp_path: Path) -> None:
    folder, (record,) = played(tmp_path, ALONE, "--disagg-set=telemetry.enabled=false")
    assert not path_of(folder / "results", "BENCHMARK").parent.exists()
    assert not [name for name in record if name.startswith("d_tm_")]
    assert read_case(folder).telemetry is None
