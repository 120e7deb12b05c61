"""Real Dynamo runs: its frontend, mockers that need no GPU, etcd and NATS, as tests/dynamo/install.sh installs them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.dynamo.make_model import make_model
from tests.faults.conftest import TEST, Run

HERE = Path(__file__).parent
SHIPPED = HERE.parent.parent / "test_configs"
INSTALL = "bash tests/dynamo/install.sh installs it"
CALM = (
    *("gate.min_concurrency_ratio=0.1", "gate.max_client_lag_ms=5000", "gate.max_client_cpu=100"),
    *("timeouts.launch_s=90", "timeouts.ready_s=90", "timeouts.probe_s=60", "timeouts.warmup_s=60"),
    *("timeouts.measure_s=60", "timeouts.stall_s=45", "slurm.timeout=600"),
)
"""A machine that is busy with other tests must not make a fast load invalid, or a start too slow."""
AGGREGATED: dict[str, Any] = {
    "engine": "dynamo",
    "cases": ["aggr"],
    "metadata": {"model_name": "tiny"},
    "slurm": {"timeout": 400},
    "hardware": {"gpus_per_node": 8},
    "server_configs": [
        {
            "name": "one",
            "backend": "mocker",
            "speedup_ratio": 4.0,
            "client_configs": [
                {"name": "con4", "concurrency": 4, "iterations": 4, "isl": 64, "osl": 16, "use_chat_template": True}
            ],
        }
    ],
    "gate": {"min_concurrency_ratio": 0.1, "max_client_lag_ms": 5000.0, "max_client_cpu": 100.0},
    "timeouts": {"launch_s": 90, "ready_s": 90, "stall_s": 20, "store_s": 10, "stop_s": 15, "grace_s": 5},
}


def interpreter() -> str:
    """The one of the virtual environment that the script makes; ``DISAGG_DYNAMO_PYTHON`` names another."""
    (version,) = (
        line.removeprefix("ai-dynamo==")
        for line in (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()
        if line.startswith("ai-dynamo==")
    )
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return os.environ.get("DISAGG_DYNAMO_PYTHON") or str(
        cache / "pytest-disagg" / f"dynamo-{version}" / "bin" / "python"
    )


@dataclass
class DynamoRun(Run):
    """A run whose roles find Dynamo and its model."""

    more: dict[str, str] = field(default_factory=dict)

    def environment(self, role: str | None = None) -> dict[str, str]:
        return {**super().environment(role), **self.more}

    def worker(self, mode: str) -> int:
        """The pid of the worker with this ``--disaggregation-mode``, which there is one of."""
        (pid,) = (pid for pid, argv in self.alive().items() if "dynamo.mocker" in argv and mode in argv)
        return pid


Start = Callable[..., DynamoRun]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models root with the model of the shipped cases."""
    root = tmp_path_factory.mktemp("models")
    make_model(root)
    return root


@pytest.fixture
def start(tmp_path: Path, models: Path) -> Iterator[Start]:
    """``start(case_id, *sets)``: a run of a shipped case or of the aggregated one; all of it is gone after the test."""
    python = interpreter()
    if shutil.which(python) is None:
        pytest.skip(f"no Dynamo here: {INSTALL}")
    runs: list[DynamoRun] = []
    (tmp_path / "test_it.py").write_text(TEST)
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "dynamo-aggregated.yaml").write_text(yaml.safe_dump(AGGREGATED, sort_keys=False))
    (tmp_path / "pytest.ini").write_text(f"[pytest]\ndisagg_config_dir = cases\n    {SHIPPED}\n")

    def begin(case_id: str, *sets: str, args: Sequence[str] = ()) -> DynamoRun:
        run = DynamoRun(tmp_path, case_id, more={"DISAGG_DYNAMO_PYTHON": python, "LLM_MODELS_ROOT": str(models)})
        runs.append(run)
        run.start(run.pytest_argv(*(f"--disagg-set={item}" for item in sets), *args))
        return run

    yield begin
    for run in runs:
        run.close()


@pytest.fixture
def etcd_and_nats() -> None:
    """Both can be started here."""
    missing = [program for program in ("etcd", "nats-server") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not on PATH: {INSTALL}")
