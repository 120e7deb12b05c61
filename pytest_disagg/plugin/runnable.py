"""Why a case cannot be played here: what no run can mean is an error, what this machine lacks is a reason to skip."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_disagg.clients import registry as clients
from pytest_disagg.clients.choice import client_name
from pytest_disagg.engines import registry as engines
from pytest_disagg.errors import UsageError
from pytest_disagg.plugin.cases import FIXTURE, ROLE_VARIABLE

if TYPE_CHECKING:
    import pytest

    from pytest_disagg.config.case import Case
    from pytest_disagg.engines.protocol import Engine
    from pytest_disagg.plugin.values import Resolved


def not_of_role(request: pytest.FixtureRequest, case: Case, role: str | None) -> str | None:
    """Why this role is left out of the case where ``-k`` selected several; None where it takes part.

    Raises:
        UsageError: an unknown role, an index the case does not have, several tasks without a role.
    """
    if role is None:
        _check_tasks(case)
        return None
    if case.id.runtime == "alone":
        if role == "BENCHMARK":
            return None
        raise UsageError(
            f"{ROLE_VARIABLE}={role}: case {case.id.text} has no roles, one process plays it all; unset it"
        )
    if role in case.roles:
        return None
    kind, _, index = role.partition("_")
    if kind in ("GEN", "CTX") and index.isdecimal():
        count = case.num_gen if kind == "GEN" else case.num_ctx
        text = f"{ROLE_VARIABLE}={role}: case {case.id.text} has {count} {kind} servers"
        if request.config.getoption("keyword") and _selected(request) > 1:
            return f"{text}, and -k selected several cases"
        raise UsageError(f"{text}; expected one of {', '.join(case.roles)}")
    raise UsageError(f"{ROLE_VARIABLE}: found {role!r}, expected one of {', '.join(case.roles)}, or unset")


def _check_tasks(case: Case) -> None:
    tasks = os.environ.get("SLURM_STEP_NUM_TASKS") or os.environ.get("SLURM_NTASKS") or "1"
    rank = os.environ.get("SLURM_PROCID", "0")
    if "SLURM_STEP_ID" in os.environ and tasks != "1" and (case.id.runtime == "disagg" or rank != "0"):
        raise UsageError(
            f"{ROLE_VARIABLE} is unset in a Slurm step of {tasks} tasks (this is rank {rank}): each would "
            "deploy the whole case; give every step its role"
        )


def _selected(request: pytest.FixtureRequest) -> int:
    return sum(FIXTURE in getattr(item, "fixturenames", ()) for item in request.session.items)


def unrunnable(config: pytest.Config, case: Case, values: Resolved, role: str | None) -> str | None:
    """Why this case cannot run here, in the order in which one would mend it.

    Raises:
        ConfigError: no run of the case can be: its limits, a placeholder, what its engine cannot serve.
        UsageError: an engine or a load generator that was asked for by name is not there.
    """
    from pytest_disagg.topology.deadlines import deadlines
    from pytest_disagg.topology.filled import check_filled

    if values.engine is not None:
        engines.get(values.engine)  # an unknown --disagg-engine is a mistake, not a reason to skip
    engine = engines.get(case.engine) if case.engine in engines.names() else None
    deadlines(case, repeats=engine.probe_policy(case.id.mode).repeats(values.repeat) if engine else 1)
    check_filled(case)
    if engine is None:
        return f"{engines.missing(case.engine)}; rehearse it with --disagg-engine sim"
    engine.check(case)
    measures = role in ("BENCHMARK", None)
    return (
        engine.unavailable(case)
        or (_accuracy_unavailable(case) if measures else None)
        or (_client_unavailable(case, values) if measures else None)
        or (_nodes(case, engine) if role is None else None)
        or (None if engine.simulated(case) else _gpu(case, role))
        or config.hook.pytest_disagg_skip(case=case)
    )


def _accuracy_unavailable(case: Case) -> str | None:
    from pytest_disagg.clients.accuracy.command import unavailable
    from pytest_disagg.config.accuracy_tasks import all_tasks

    reasons = (unavailable({**os.environ, **task.env}) for task in all_tasks(case))
    return next(filter(None, reasons), None)


def _client_unavailable(case: Case, values: Resolved) -> str | None:
    """Why its load generator cannot run here.

    Raises:
        UsageError: the one that was asked for by name cannot: that is a mistake, not a reason to skip.
    """
    name = client_name(case, values.client)
    if name in clients.names() or values.client:
        reason = clients.get(name).unavailable()
        if reason and values.client:
            raise UsageError(f"--disagg-client={name}: {reason}")
        return f"client {name}: {reason}" if reason else None
    return f"{clients.missing(name)}; measure it with --disagg-client=native"


def _nodes(case: Case, engine: Engine) -> str | None:
    from pytest_disagg.roles.nodes import machines_of

    nodes = machines_of(case, engine)
    return f"needs {nodes} nodes, this is one machine; rehearse it with --disagg-engine sim" if nodes > 1 else None


def _gpu(case: Case, role: str | None) -> str | None:
    from pytest_disagg.records.gpu import NO_GPU, gpu_type

    if not case.supported_gpus:
        return None
    gpu = gpu_type()
    if gpu == NO_GPU and role in ("BENCHMARK", "DISAGG_SERVER"):
        return None  # these may run where there is none
    if gpu not in [name.lower() for name in case.supported_gpus]:
        return f"GPU {gpu} is not among supported_gpus ({', '.join(case.supported_gpus)})"
    return None
