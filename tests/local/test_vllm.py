"""Engine ``vllm`` end to end: a stand-in for ``vllm`` on PATH behind the real ``vllm-router`` (tests/vllm.sh)."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.local.test_trtllm import CASE as TRTLLM_CASE
from tests.local.test_trtllm import Project, assert_green, outcome_of

ROUTER_VERSION = "0.1.17"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pytest-disagg"
ROUTER = CACHE / f"vllm-router-{ROUTER_VERSION}" / "bin" / "vllm-router"
needs_router = pytest.mark.skipif(
    not (ROUTER.parents[1] / "installed").exists(), reason=f"{ROUTER} is not there (bash tests/vllm.sh)"
)

CASE: dict[str, Any] = {
    **{key: TRTLLM_CASE[key] for key in ("metadata", "slurm", "benchmark", "timeouts", "gate")},
    "engine": "vllm",
    "cases": ["disagg-e2e"],
    "hardware": {"gpus_per_node": 8, "num_ctx_servers": 1, "num_gen_servers": 2, "share_nodes": True},
    "worker_config": {
        "ctx": {"tensor_parallel_size": 1, "max_num_seqs": 16, "enforce_eager": True},
        "gen": {"tensor_parallel_size": 2, "max_num_seqs": 16, "enable_prefix_caching": False},
    },
    "coordinator_config": {"policy": "round_robin"},
}
AGGR: dict[str, Any] = {
    **{key: CASE[key] for key in ("engine", "metadata", "slurm", "timeouts", "gate")},
    "cases": ["aggr"],
    "hardware": {"gpus_per_node": 8},
    "server_configs": [
        {
            "name": "one",
            "data_parallel_size": 2,
            "world_size": 2,
            "client_configs": [{"name": "con2", "concurrency": 2, "iterations": 6, "isl": 32, "osl": 8}],
        }
    ],
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@needs_router
def test_a_disaggregated_case_behind_the_real_router(project: Project) -> None:
    assert_green(project.run(CASE, DISAGG_VLLM_ROUTER=str(ROUTER)))
    rundir = project.rundir("disagg-e2e-case")
    router = rundir.log("DISAGG_SERVER").read_text()
    assert "mode: VllmPrefillDecode" in router
    for role in ("CTX_0", "GEN_0", "GEN_1"):
        log = rundir.log(role).read_text()
        assert "stand-in vllm serve 0.33.0: no vLLM here" in log
        (address,) = re.findall(r"listens on (\S+):", log)
        assert f"http://{address}" in router
    # A GEN server of the stand-in decodes only what a CTX server has prefilled, once its side channel has answered.
    startup = json.loads((rundir.results / "startup_metrics.0.json").read_text())
    cache = {"block_size": "16", "engine": "0", "num_gpu_blocks": "1024"}
    assert startup == {role: {"version": "0.33.0", "cache_config": [cache]} for role in ("CTX_0", "GEN_0", "GEN_1")}


def test_an_aggregated_case_has_no_coordinator(project: Project) -> None:
    assert_green(project.run(AGGR))
    rundir = project.rundir("aggr-case")
    assert "stand-in vllm serve server on 127.0.0.1" in rundir.log("SERVER_0").read_text()


def test_what_vllm_does_not_take_is_in_the_first_line(project: Project) -> None:
    server = {**AGGR["server_configs"][0], "max_num_seq": 4}
    headline, found = outcome_of(project.run({**AGGR, "server_configs": [server]}))
    assert "exit code 2: stand-in vllm serve: error: unrecognized arguments: --max-num-seq 4" in headline
    assert found["disagg_kind"] == "functional"
