"""Cases built by hand: topology is a pure function of them, so no file is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.config.blocks import Gate, MachineRules, Timeouts
from pytest_disagg.config.case import Case, CaseId, LoadSpec, Mode, ServerKind, ServerSpec
from pytest_disagg.config.sim import SimSettings

CaseFactory = Callable[..., Case]


def _spec(kind: ServerKind, count: int, world_size: int, clients: tuple[LoadSpec, ...] = ()) -> ServerSpec:
    return ServerSpec(kind, f"{kind}-{world_size}", "m", count, world_size, {}, clients=clients)


def _load(concurrency: int, *, warmup: bool) -> LoadSpec:
    return LoadSpec(f"con{concurrency}", concurrency, iterations=1, isl=8, osl=8, warmup=warmup)


@pytest.fixture
def make_case() -> CaseFactory:
    """A case from ``gen``/``ctx`` as (count, world size), or from ``alone``: the world size of each server."""

    def make(
        *,
        gen: tuple[int, int] = (1, 4),
        ctx: tuple[int, int] | None = (1, 4),
        alone: tuple[int, ...] = (),
        gpus_per_node: int = 4,
        share_nodes: bool = False,
        points: int = 1,
        warmup: bool = True,
        timeouts: Mapping[str, float] | None = None,
        total_s: float = 10800.0,
        job_time_s: float | None = None,
        mode: Mode | None = None,
    ) -> Case:
        loads = tuple(_load(2**i, warmup=warmup) for i in range(points))
        if alone:
            servers = tuple(_spec("server", 1, world_size, loads) for world_size in alone)
        else:
            servers = (_spec("gen", *gen),) + ((_spec("ctx", *ctx),) if ctx else ())
        prefix: Any = "aggr" if alone else "disagg"
        case_mode: Mode = mode or ("aggregated" if alone else "e2e")
        return Case(
            id=CaseId(f"{prefix}-{case_mode}-x", prefix, case_mode, None, "x"),
            path=Path("x.yaml"),
            engine="sim",
            model="m",
            servers=servers,
            clients=() if alone else loads,
            gpus_per_node=gpus_per_node,
            share_nodes=share_nodes,
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
            total_s=total_s,
            job_time_s=job_time_s,
        )

    return make
