"""A case with two CTX servers and a two-node GEN server, and what turns it into a job."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_disagg.config.case import Case
from pytest_disagg.config.cluster import Cluster
from pytest_disagg.config.resolve import load_cases
from pytest_disagg.launch.command import PytestCommand
from pytest_disagg.launch.slurm.plan import JobInput, plan_job
from pytest_disagg.launch.slurm.spec import JobSpec

DOCUMENT: dict[str, Any] = {
    "engine": "sim",
    "cases": ["disagg-e2e"],
    "metadata": {"model_name": "m"},
    "slurm": {"timeout": 600},
    "benchmark": {"concurrency_list": "4", "input_length": 32, "output_length": 8},
    "hardware": {"gpus_per_node": 4, "num_ctx_servers": 2, "num_gen_servers": 1},
    "worker_config": {"gen": {"tensor_parallel_size": 8}, "ctx": {"tensor_parallel_size": 2}},
    "timeouts": {"stop_s": 8, "grace_s": 1},
}

MakeCase = Callable[..., Case]
MakeJob = Callable[..., JobSpec]


@pytest.fixture
def make_case(tmp_path: Path) -> MakeCase:
    """``make_case(hardware=..., ...)``: the case of :data:`DOCUMENT` with whole top-level keys replaced."""

    def make(**changes: Any) -> Case:
        path = tmp_path / "job.yaml"
        document = {key: value for key, value in {**DOCUMENT, **changes}.items() if value is not None}
        path.write_text(yaml.safe_dump(document))
        (case,) = load_cases(str(path), environ={})
        return case

    return make


def job_input(**changes: Any) -> JobInput:
    given: dict[str, Any] = {
        "job_dir": Path("/shared/runs/jobs/a"),
        "work_dir": Path("/shared/runs"),
        "command": PytestCommand("test_x.py::test_e2e[id]", Path("/project"), None, ("--disagg-set=a=b c",)),
        "python": "/venv/bin/python",
        "program": ("/venv/bin/python", "/shared/runs/jobs/a/bin/slurm_run"),
        "install_program": ("/venv/bin/python", "/shared/runs/jobs/a/bin/slurm_install"),
    }
    return JobInput(**{**given, **changes})


@pytest.fixture
def make_job(make_case: MakeCase) -> MakeJob:
    """``make_job(cluster={...}, given={...}, hardware=...)``."""

    def make(cluster: dict[str, Any] | None = None, given: dict[str, Any] | None = None, **changes: Any) -> JobSpec:
        return plan_job(make_case(**changes), Cluster.model_validate(cluster or {}), None, job_input(**(given or {})))

    return make
