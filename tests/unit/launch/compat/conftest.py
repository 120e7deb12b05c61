"""Cases and the inputs that a pipeline would write for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_disagg.config.case import Case
from pytest_disagg.config.resolve import load_case
from pytest_disagg.launch.compat.script import Inputs
from pytest_disagg.launch.compat.textfile import TextFile

DOCUMENT: dict[str, Any] = {
    "metadata": {"model_name": "m"},
    "benchmark": {"concurrency_list": "8"},
    "hardware": {"gpus_per_node": 4, "num_ctx_servers": 2, "num_gen_servers": 2},
    "environment": {
        "worker_env_var": "SHARED=1",
        "ctx_worker_env_var": "CTX=1",
        "gen_worker_env_var": "GEN=1",
        "server_env_var": "SERVER=1",
        "benchmark_env_var": "BENCHMARK=1",
    },
    "worker_config": {
        "gen": {"tensor_parallel_size": 8, "max_batch_size": 2, "enable_attention_dp": False},
        "ctx": {"tensor_parallel_size": 2},
    },
}
PREFIX = 'export jobWorkspace=/ws\nexport pytestCommand="A=1 trtllm-llmapi-launch pytest --csv=x.csv t.py"\n'

MakeCase = Callable[..., Case]


@pytest.fixture
def make_case(tmp_path: Path) -> MakeCase:
    """``make_case("disagg-e2e", hardware=..., ...)``: :data:`DOCUMENT` with whole top-level keys replaced."""

    def make(start: str = "disagg-e2e", **changes: Any) -> Case:
        path = tmp_path / "job.yaml"
        document = {key: value for key, value in {**DOCUMENT, **changes}.items() if value is not None}
        path.write_text(yaml.safe_dump(document))
        return load_case(f"{start}-job", path=path, environ={})

    return make


def inputs(case: Case, *, prefix: str = PREFIX, srun_args: str = "", draft: str | None = None, **more: Any) -> Inputs:
    return Inputs(
        case=case,
        run_sh="/ws/slurm_run",
        install_sh="/ws/slurm_install",
        prefix=TextFile(Path("prefix.sh"), prefix),
        srun_args=TextFile(Path("srun.args"), srun_args),
        draft=None if draft is None else TextFile(Path("draft.sh"), draft),
        **more,
    )
