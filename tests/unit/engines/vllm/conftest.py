"""Cases of engine ``vllm`` as they are loaded from files, and what roles would ask the engine for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_disagg.config.case import Case, ServerKind
from pytest_disagg.config.resolve import load_cases
from pytest_disagg.engines.protocol import CoordinatorRequest, Launch, ServerRequest, Site
from pytest_disagg.engines.vllm.engine import VllmEngine

ENGINE = VllmEngine()
RUN = Path("/run")
DOCUMENT: dict[str, Any] = {
    "engine": "vllm",
    "cases": ["disagg-e2e"],
    "metadata": {"model_name": "m"},
    "benchmark": {"concurrency_list": "8", "input_length": 32, "output_length": 8},
    "hardware": {"gpus_per_node": 4, "num_ctx_servers": 2, "num_gen_servers": 1},
    "worker_config": {"gen": {"tensor_parallel_size": 4}, "ctx": {"tensor_parallel_size": 2}},
}
AGGREGATED: dict[str, Any] = {
    "engine": "vllm",
    "cases": ["aggr"],
    "metadata": {"model_name": "m"},
    "hardware": {"gpus_per_node": 4},
    "server_configs": [
        {"name": "one", "tensor_parallel_size": 4, "server_env_var": "A=1", "client_configs": [{"concurrency": 1}]}
    ],
}

LoadCase = Callable[..., Case]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadCase:
    """``load(document, key=..., ...)``: its one case, with whole top-level keys replaced."""
    for name in ("DISAGG_VLLM", "DISAGG_VLLM_ROUTER", "DISAGG_VLLM_PYTHON"):
        monkeypatch.delenv(name, raising=False)

    def load(document: Mapping[str, Any] = DOCUMENT, **changes: Any) -> Case:
        path = tmp_path / "c.yaml"
        path.write_text(yaml.safe_dump({**document, **changes}, sort_keys=False))
        (case,) = load_cases(str(path), environ={})
        return case

    return load


def workers(**blocks: Mapping[str, Any]) -> dict[str, Any]:
    """``worker_config`` with keys added to its blocks."""
    whole = DOCUMENT["worker_config"]
    return {"worker_config": {kind: {**whole[kind], **blocks.get(kind, {})} for kind in whole}}


def _row(numbers: Iterator[int], count: int) -> int:
    first, *_ = itertools.islice(numbers, count)
    return first


def ports() -> Site:
    """A site whose ports are 1001, 1002, ...; those of a row are gone for the next."""
    numbers = itertools.count(1001)
    return Site(port=lambda *, count=1: _row(numbers, count))


def server(
    case: Case, kind: ServerKind, *, rank: int = 0, nodes: int = 1, lead: Mapping[str, str] | None = None
) -> Launch:
    spec = case.server(kind)
    assert spec is not None
    role = {"gen": "GEN_0", "ctx": "CTX_0", "server": "SERVER_0"}[kind]
    folders = (RUN / "config" / role, RUN / "logs", RUN / "secrets" / role, RUN / "config" / role / "address")
    meets = "n0:77" if nodes > 1 else ""
    request = ServerRequest(case, spec, role, 0, f"n{rank}", *folders, ports(), rank, nodes, meets, lead or {})
    return ENGINE.server(request)


def coordinator(case: Case, facts: Mapping[str, str] | None = None) -> Launch:
    role = "DISAGG_SERVER"
    folders = (RUN / "config" / role, RUN / "logs", RUN / "secrets" / role, RUN / "config" / role / "address")
    request = CoordinatorRequest(
        case, role, "n1", ["n2:1", "n3:2"], ["n1:3"], *folders, ports(), [facts or {}] * 2, [{}]
    )
    return ENGINE.coordinator(request)
