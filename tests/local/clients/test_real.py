"""Other people's load generators, really: a disaggregated case on simulated servers, measured by each of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_disagg.rundir.layout import RunDir
from tests.local.clients.model import make_model
from tests.pytester.conftest import make_project, run_pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pytest-disagg" / "clients"
CASE: dict[str, Any] = {
    "engine": "sim",
    "cases": ["disagg-e2e"],
    "metadata": {"model_name": "tiny"},
    "slurm": {"timeout": 900},
    "benchmark": {"concurrency_list": "4", "multi_round": 5, "input_length": 64, "output_length": 16},
    "hardware": {"gpus_per_node": 8, "num_ctx_servers": 1, "num_gen_servers": 1, "share_nodes": True},
    "worker_config": {
        "gen": {"tensor_parallel_size": 1, "max_batch_size": 16, "stream_interval": 1},
        "ctx": {"tensor_parallel_size": 1, "max_batch_size": 16},
    },
    "timeouts": {"launch_s": 60, "ready_s": 60, "probe_s": 60, "stall_s": 50, "store_s": 60, "grace_s": 10},
    # A machine that is busy with other tests must not make a fast load invalid.
    "gate": {"min_concurrency_ratio": 0.1},
    "sim": {"truth_log": True},
}


@pytest.mark.parametrize("name", ["aiperf", "vllm_bench", "sglang_bench"])
def test_a_case_on_simulated_servers(name: str, tmp_path: Path) -> None:
    tool = name.removesuffix("_bench")
    if not (CACHE / tool / "installed").exists():
        pytest.skip(f"{tool} is not installed: bash tests/clients.sh {tool}")
    version = (CACHE / tool / "installed").read_text().strip().rpartition("==")[2]
    make_model(tmp_path / "models" / "tiny")
    folder = make_project(tmp_path / "project", case=yaml.safe_dump(CASE, sort_keys=False))
    finished = run_pytest(
        folder,
        "-p",
        "no:cacheprovider",
        "--junitxml=r.xml",
        "--disagg-work-dir=runs",
        f"--disagg-client={name}",
        f"--disagg-models-root={tmp_path / 'models'}",
        DISAGG_RUN_ID="r",
        **{f"DISAGG_{name.upper()}": str(CACHE / tool)},
    )
    assert finished.code == 0, finished.out
    rundir = RunDir.of(folder / "runs", "r", "disagg-e2e-case")
    (record,) = [json.loads(line) for line in rundir.records.read_text().splitlines()]
    assert (record["s_client_tool"], record["s_client_tool_version"]) == (name, version)
    assert (record["b_is_valid"], record["d_successful_requests"]) == (True, 20.0)
    assert record["d_total_output_tokens"] == 20 * 16.0
    if name != "vllm_bench":  # it sends text and takes the server's count, here one token per four characters
        assert record["d_total_input_tokens"] == 20 * 64.0
    assert 1 < record["d_achieved_concurrency"] <= 4.001
    # The coordinator wrote every first token after the request had come: no client can have seen it sooner.
    truth = [json.loads(line) for line in (rundir.logs / "DISAGG_SERVER.truth.jsonl").read_text().splitlines()]
    waits = sorted(1000 * (each["monotonic_s"] - each["received_s"]) for each in truth if each["chunk"] == 0)
    assert record["d_mean_ttft"] > waits[0]
