"""Cases of engine ``dynamo`` as they are loaded from files, and what roles would ask the engine for."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_disagg.config.case import Case, ServerKind
from pytest_disagg.config.resolve import load_cases
from pytest_disagg.engines.dynamo import engine as module
from pytest_disagg.engines.dynamo.engine import DynamoEngine
from pytest_disagg.engines.protocol import CoordinatorRequest, Launch, ServerRequest, Site

ENGINE = DynamoEngine()
RUN = Path("/run")
DOCUMENT: dict[str, Any] = {
    "engine": "dynamo",
    "cases": ["disagg-e2e"],
    "metadata": {"model_name": "m"},
    "benchmark": {"concurrency_list": "8", "input_length": 32, "output_length": 8},
    "hardware": {"gpus_per_node": 8, "num_ctx_servers": 1, "num_gen_servers": 2, "share_nodes": True},
    "worker_config": {"gen": {"backend": "mocker"}, "ctx": {"backend": "mocker"}},
}
AGGREGATED: dict[str, Any] = {
    "engine": "dynamo",
    "cases": ["aggr"],
    "metadata": {"model_name": "m"},
    "hardware": {"gpus_per_node": 8},
    "server_configs": [{"name": "one", "backend": "mocker", "client_configs": [{"concurrency": 1}]}],
}

LoadCase = Callable[..., Case]


@pytest.fixture(autouse=True)
def _python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(module.VARIABLE, "/dyn/python")


@pytest.fixture
def load(tmp_path: Path) -> LoadCase:
    """``load(document, key=..., ...)``: its one case, with whole top-level keys replaced."""

    def load(document: Mapping[str, Any] = DOCUMENT, **changes: Any) -> Case:
        path = tmp_path / "c.yaml"
        path.write_text(yaml.safe_dump({**document, **changes}, sort_keys=False))
        (case,) = load_cases(str(path), environ={})
        return case

    return load


def workers(backend: str, gen: Mapping[str, Any] | None = None, ctx: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Changes for ``load``: both kinds served by ``backend``."""
    return {"worker_config": {"gen": {"backend": backend, **(gen or {})}, "ctx": {"backend": backend, **(ctx or {})}}}


def site(**fields: Any) -> Site:
    """A site whose ports count from 5001 in the order in which they are asked for."""
    ports = itertools.count(5001)
    return Site(**{"port": lambda **_: next(ports), "shared_dir": RUN / "shared", **fields})


def server(
    case: Case,
    kind: ServerKind,
    *,
    rank: int = 0,
    nodes: int = 1,
    rendezvous: str = "",
    port: Callable[..., int] | None = None,
    **lead: str,
) -> Launch:
    spec = case.server(kind)
    assert spec is not None
    role = {"gen": "GEN_0", "ctx": "CTX_0", "server": "SERVER_0"}[kind]
    folders = (RUN / "config" / role, RUN / "logs", RUN / "secrets" / role, RUN / "config" / role / "address")
    here = site() if port is None else site(port=port)
    request = ServerRequest(case, spec, role, 0, "10.0.0.1", *folders, here)
    return ENGINE.server(replace(request, node_rank=rank, nodes=nodes, rendezvous=rendezvous, lead=lead))


def coordinator(
    case: Case, ctx: Sequence[str] = ("10.0.0.1:1",), gen: Sequence[str] = ("10.0.0.1:2",), **fields: Any
) -> Launch:
    role = "DISAGG_SERVER"
    folders = (RUN / "config" / role, RUN / "logs", RUN / "secrets" / role, RUN / "config" / role / "address")
    return ENGINE.coordinator(CoordinatorRequest(case, role, "10.0.0.1", ctx, gen, *folders, site(**fields)))


def words(launch: Launch) -> list[str]:
    """A worker's own: after the module's name, before what is said of discovery."""
    return list(launch.argv[3 : launch.argv.index("--discovery-backend")])


def options(launch: Launch) -> dict[str, str]:
    """Options with the word that follows each, which may be the next option."""
    return dict(zip(launch.argv, (*launch.argv[1:], ""), strict=True))
