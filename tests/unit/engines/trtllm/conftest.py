"""Cases of engine ``trtllm`` as they are loaded from files, and what roles would ask the engine for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_disagg.config.case import Case, ServerKind
from pytest_disagg.config.resolve import load_cases
from pytest_disagg.engines.protocol import CoordinatorRequest, Launch, ServerRequest, Site
from pytest_disagg.engines.trtllm.engine import TrtllmEngine

ENGINE = TrtllmEngine()
RUN = Path("/run")
SITE = Site(secrets={"internal_request_auth_key": "k" * 64})
DOCUMENT: dict[str, Any] = {
    "cases": ["disagg-e2e"],
    "metadata": {"model_name": "m"},
    "slurm": {"timeout": 600},
    "benchmark": {"concurrency_list": "8", "input_length": 32, "output_length": 8},
    "hardware": {"gpus_per_node": 4, "num_ctx_servers": 2, "num_gen_servers": 1},
    "worker_config": {"gen": {"tensor_parallel_size": 8}, "ctx": {"tensor_parallel_size": 2}},
}
AGGREGATED: dict[str, Any] = {
    "cases": ["aggr"],
    "metadata": {"model_name": "m"},
    "hardware": {"gpus_per_node": 4},
    "server_configs": [
        {"name": "one", "tensor_parallel_size": 4, "server_env_var": "A=1", "client_configs": [{"concurrency": 1}]}
    ],
}

LoadCase = Callable[..., Case]


@pytest.fixture
def load(tmp_path: Path) -> LoadCase:
    """``load(document, key=..., ...)``: its one case, with whole top-level keys replaced."""

    def load(document: Mapping[str, Any] = DOCUMENT, **changes: Any) -> Case:
        path = tmp_path / "c.yaml"
        path.write_text(yaml.safe_dump({**document, **changes}, sort_keys=False))
        (case,) = load_cases(str(path), environ={})
        return case

    return load


def server(case: Case, kind: ServerKind, site: Site = SITE, host: str = "n1") -> Launch:
    spec = case.server(kind)
    assert spec is not None
    role = {"gen": "GEN_0", "ctx": "CTX_0", "server": "SERVER_0"}[kind]
    folders = (RUN / "config" / role, RUN / "logs", RUN / "secrets" / role, RUN / "config" / role / "address")
    return ENGINE.server(ServerRequest(case, spec, role, 0, host, *folders, site))


def coordinator(case: Case, site: Site = SITE) -> Launch:
    role = "DISAGG_SERVER"
    folders = (RUN / "config" / role, RUN / "logs", RUN / "secrets" / role, RUN / "config" / role / "address")
    return ENGINE.coordinator(CoordinatorRequest(case, role, "n1", ["n2:1", "n3:2"], ["n1:3"], *folders, site))


def document_of(launch: Launch) -> dict[str, Any]:
    """What the one file of a launch holds."""
    (text,) = launch.files.values()
    loaded = yaml.safe_load(text)
    assert isinstance(loaded, dict)
    return loaded
