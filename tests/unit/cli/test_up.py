"""`disagg up`: what it tells the roles, and what it refuses before any of them starts."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_disagg.cli.main import main
from pytest_disagg.config.case import Case
from pytest_disagg.rundir.outcome import Outcome

CASE: dict[str, Any] = {
    "engine": "sim",
    "cases": ["disagg-e2e"],
    "metadata": {"model_name": "m"},
    "benchmark": {"concurrency_list": "8", "input_length": 32, "output_length": 8},
    "hardware": {"gpus_per_node": 8, "num_ctx_servers": 1, "num_gen_servers": 1, "share_nodes": True},
    "worker_config": {"gen": {"tensor_parallel_size": 1}, "ctx": {"tensor_parallel_size": 1}},
}
ELSEWHERE = {"backend": "etcd", "etcd": "http://10.9.9.9:2379", "nats": "nats://10.9.9.9:4222"}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Mapping[str, Any]]:
    """The options of every deployment that is brought up; none is."""
    found: list[Mapping[str, Any]] = []

    def up_disagg(case: Case, work_dir: Path, options: Mapping[str, Any], say: object) -> Outcome:
        found.append(options)
        return Outcome("r", case.id.text, "released")

    monkeypatch.setattr("pytest_disagg.launch.up.up_disagg", up_disagg)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cases").mkdir()
    return found


def write(**changes: Any) -> str:
    path = Path("cases/one.yaml")
    path.write_text(yaml.safe_dump({**CASE, **changes}))
    return str(path)


def test_roles_start_elsewhere_and_are_told_whole_paths(started: list[Mapping[str, Any]], tmp_path: Path) -> None:
    for folder in ("models", "src"):
        (tmp_path / folder).mkdir()
    assert main(["up", write(), "--models-root=models", "--llm-src=src", "--work-dir=runs"]) == 0
    (options,) = started
    paths = {name: options[name] for name in ("config-dir", "models-root", "llm-src", "work-dir")}
    assert paths == {
        "config-dir": [str(tmp_path / "cases")],
        "models-root": str(tmp_path / "models"),
        "llm-src": str(tmp_path / "src"),
        "work-dir": str(tmp_path / "runs"),
    }


def spread(backend: str) -> str:
    """A case of which GEN takes two nodes."""
    blocks = {"gen": {"backend": backend, "tensor_parallel_size": 16}, "ctx": {"backend": backend}}
    return write(engine="dynamo", worker_config=blocks, discovery=ELSEWHERE, environment={"model_path": "."})


def test_a_case_of_several_machines_is_refused(
    started: list[Mapping[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be up without its other nodes."""
    monkeypatch.setenv("DISAGG_DYNAMO_PYTHON", sys.executable)
    assert main(["up", spread("sglang")]) == 4
    said = "needs 3 nodes, this is one machine; --engine sim rehearses it here, disagg run takes it to Slurm"
    assert said in capsys.readouterr().err
    assert started == []
    # One process stands for a whole simulated server.
    assert main(["up", spread("mocker")]) == 0
    assert main(["up", spread("sglang"), "--engine=sim"]) == 0
    assert len(started) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"engine": "sim", "environment": {"worker_env_var": "A=<nobody>"}}, "found the unfilled placeholder <nobody>"),
        ({"coordinator_config": {"http_port": 1}}, "coordinator_config.http_port: found 1, expected nothing"),
    ],
)
def test_what_its_roles_would_find_is_said_before_they_start(
    started: list[Mapping[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.setenv("DISAGG_DYNAMO_PYTHON", sys.executable)
    blocks = {kind: {"backend": "mocker"} for kind in ("gen", "ctx")}
    case = {"engine": "dynamo", "worker_config": blocks, "environment": {"model_path": "."}, **changes}
    assert main(["up", write(**case)]) == 4
    assert said in capsys.readouterr().err
    assert started == []
