"""Sessions of a role in a run directory of their own; nothing is started."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.clients.native.client import NativeClient
from pytest_disagg.config.blocks import Gate, MachineRules, Timeouts
from pytest_disagg.config.case import Case, CaseId, LoadSpec, ServerSpec
from pytest_disagg.config.sim import SimSettings
from pytest_disagg.engines.sim.engine import SimEngine
from pytest_disagg.roles.options import RunOptions
from pytest_disagg.roles.session import RoleSession

SessionFactory = Callable[..., RoleSession]

LOAD = LoadSpec("con2", 2, iterations=2, isl=8, osl=8)


@pytest.fixture
def make_session(tmp_path: Path) -> SessionFactory:
    """A BENCHMARK that plays an aggregated case alone; ``options`` are those of :class:`RunOptions`."""

    def make(
        *,
        load: LoadSpec = LOAD,
        env: dict[str, str] | None = None,
        timeouts: dict[str, float] | None = None,
        **options: Any,
    ) -> RoleSession:
        spec = ServerSpec("server", "one", "m", 1, 1, {}, env=env or {}, clients=(load,))
        case = Case(
            id=CaseId("aggr-x", "aggr", "aggregated", None, "x"),
            path=tmp_path / "x.yaml",
            engine="sim",
            model="m",
            servers=(spec,),
            clients=(),
            gpus_per_node=1,
            share_nodes=False,
            coordinator_env={},
            coordinator_env_text="",
            supported_gpus=(),
            timeouts=Timeouts(**(timeouts or {})),
            gate=Gate(),
            machine=MachineRules(),
            slo=None,
            sim=SimSettings(),
            document={},
            digest="0",
            total_s=600.0,
        )
        given: dict[str, Any] = {
            "work_dir": tmp_path / "runs",
            "host": "127.0.0.1",
            "engine": SimEngine(),
            "client": NativeClient(),
            "log": lambda text: None,
        }
        return RoleSession(RunOptions(case=case, run_id="r", **{**given, **options}), "BENCHMARK", others=())

    return make
