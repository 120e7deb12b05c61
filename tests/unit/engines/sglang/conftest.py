"""Cases of engine ``sglang`` as they are loaded from files, and what roles would ask the engine for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_disagg.config.case import Case, ServerKind
from pytest_disagg.config.resolve import load_cases
from pytest_disagg.engines.protocol import CoordinatorRequest, Launch, ServerRequest, Site
from pytest_disagg.engines.sglang.engine import SglangEngine

ENGINE = SglangEngine()
RUN = Path("/run")
PYTHON = "/sglang/bin/python"
ROUTER = "/router/bin/python"
DOCUMENT: dict[str, Any] = {
    "engine": "sglang",
    "cases": ["disagg-e2e"],
    "metadata": {"model_name": "m"},
    "slurm": {"timeout": 600},
    "benchmark": {"concurrency_list": "8", "input_length": 32, "output_length": 8},
    "hardware": {"gpus_per_node": 4, "num_ctx_servers": 2, "num_gen_servers": 1},
    "worker_config": {
        "gen": {"tensor_parallel_size": 8, "mem_fraction_static": 0.85},
        "ctx": {"tensor_parallel_size": 4, "disable_radix_cache": True},
    },
}
AGGREGATED: dict[str, Any] = {
    "engine": "sglang",
    "cases": ["aggr"],
    "metadata": {"model_name": "m"},
    "hardware": {"gpus_per_node": 4},
    "server_configs": [{"name": "one", "tensor_parallel_size": 4, "client_configs": [{"concurrency": 1}]}],
}

LoadCase = Callable[..., Case]


@pytest.fixture(autouse=True)
def pythons(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed on this machine decides nothing."""
    monkeypatch.setenv("DISAGG_SGLANG_PYTHON", PYTHON)
    monkeypatch.setenv("DISAGG_SGLANG_ROUTER", ROUTER)


@pytest.fixture
def load(tmp_path: Path) -> LoadCase:
    """``load(document, key=..., ...)``: its one case, with whole top-level keys replaced."""

    def load(document: Mapping[str, Any] = DOCUMENT, **changes: Any) -> Case:
        path = tmp_path / "c.yaml"
        path.write_text(yaml.safe_dump({**document, **changes}, sort_keys=False))
        (case,) = load_cases(str(path), environ={})
        return case

    return load


def gen_block(**keys: Any) -> dict[str, Any]:
    """``worker_config`` with these keys in the GEN block."""
    workers = DOCUMENT["worker_config"]
    return {**workers, "gen": {**workers["gen"], **keys}}


def ports() -> Site:
    """A site whose ports are 7001, 7002, ..."""
    numbers = count(7001)
    return Site(port=lambda *, shared=False: next(numbers))


def server(
    case: Case,
    kind: ServerKind,
    *,
    host: str = "n1",
    rank: int = 0,
    nodes: int = 1,
    lead: Mapping[str, str] | None = None,
) -> Launch:
    spec = case.server(kind)
    assert spec is not None
    role = {"gen": "GEN_0", "ctx": "CTX_0", "server": "SERVER_0"}[kind]
    folders = (RUN / "config" / role, RUN / "logs", RUN / "secrets" / role, RUN / "config" / role / "address")
    meet = "n1:6000" if nodes > 1 else ""
    return ENGINE.server(ServerRequest(case, spec, role, 0, host, *folders, ports(), rank, nodes, meet, lead or {}))


def coordinator(case: Case, *, host: str = "n1") -> Launch:
    role = "DISAGG_SERVER"
    folders = (RUN / "config" / role, RUN / "logs", RUN / "secrets" / role, RUN / "config" / role / "address")
    facts = [{"bootstrap_port": "8001"}, {"bootstrap_port": "8002"}]
    return ENGINE.coordinator(
        CoordinatorRequest(case, role, host, ["n2:1", "[fd00::3]:2"], ["n1:3"], *folders, ports(), facts, [{}])
    )


def options_of(launch: Launch) -> list[str]:
    """The words after the module."""
    return list(launch.argv[launch.argv.index("-m") + 2 :])
