"""The part of a run that this process plays: a role, one node of a server, or everything."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from pytest_disagg.clients import registry as clients
from pytest_disagg.clients.choice import client_name
from pytest_disagg.engines import registry as engines
from pytest_disagg.plugin.live import Live
from pytest_disagg.plugin.values import resolved
from pytest_disagg.rundir.runid import new_run_id, required_run_id, run_id_of

if TYPE_CHECKING:
    import pytest

    from pytest_disagg.config.case import Case
    from pytest_disagg.roles.options import RunOptions
    from pytest_disagg.rundir.outcome import Outcome
    from pytest_disagg.verdict.quarantine import Quarantines


def play_part(request: pytest.FixtureRequest, case: Case, role: str | None, quarantines: Quarantines) -> Outcome | None:
    """Play ``role`` of the case, with None the whole run; how the run ended, None of a role that does not judge it.

    Raises:
        RunError: the run, or this role of it, ended badly.
        DisaggError: the process cannot play it.
    """
    rank = _follows(case) if role is not None else 0
    if case.id.runtime == "alone" and not rank:
        from pytest_disagg.roles.alone import run_alone

        return run_alone(_options(request, case, run_id_of(os.environ) or new_run_id(), quarantines))
    if role is None:
        from pytest_disagg.plugin.local import run_here

        return run_here(request, case, resolved(request.config))
    options = _options(request, case, required_run_id(os.environ, role), quarantines)
    if rank:
        from pytest_disagg.roles.nodes import run_follower

        run_follower(options, role, rank)
    elif role == "BENCHMARK":
        from pytest_disagg.roles.benchmark import run_benchmark

        return run_benchmark(options)
    elif role == "DISAGG_SERVER":
        from pytest_disagg.roles.coordinator import run_coordinator

        run_coordinator(options)
    else:
        from pytest_disagg.roles.worker import run_worker

        run_worker(options, role)
    return None


def _follows(case: Case) -> int:
    """Which node of its server this process is to start, where the engine starts one on each; else 0."""
    from pytest_disagg.roles.nodes import node_rank

    engine = engines.get(case.engine)
    return node_rank() if any(engine.on_every_node(case, spec) for spec in case.servers) else 0


def _options(request: pytest.FixtureRequest, case: Case, run_id: str, quarantines: Quarantines) -> RunOptions:
    from pytest_disagg.plugin.hosts import host_to_bind
    from pytest_disagg.plugin.started import started
    from pytest_disagg.roles.options import RunOptions, baseline_dirs
    from pytest_disagg.topology.deadlines import external_limit_s

    config = request.config
    values = resolved(config)
    return RunOptions(
        case=case,
        run_id=run_id,
        work_dir=values.work_dir,
        host=host_to_bind(values.interface, os.environ),
        engine=engines.get(case.engine),
        client=clients.get(client_name(case, values.client)),
        log=Live(config).line,
        hooks=_Hooks(config),
        baseline=values.baseline,
        baseline_dirs=baseline_dirs(values.config_dir, values.llm_src),
        stage_name=values.stage_name,
        repeat=values.repeat,
        keep=values.keep,
        history=values.history,
        policy=values.policy,
        reference_branch=values.reference_branch,
        require_upload=values.require_upload,
        external_limit_s=external_limit_s(os.environ, time.time()),
        models_root=values.models_root,
        llm_src=values.llm_src,
        quarantines=quarantines,
        started=started(request, values),
    )


class _Hooks:
    """Forwards a run's events to pytest's hooks."""

    def __init__(self, config: pytest.Config) -> None:
        self._hook: Any = config.hook

    def stage(self, case: Case, role: str, stage: str, event: str) -> None:
        self._hook.pytest_disagg_stage(case=case, role=role, stage=stage, event=event)

    def record(self, case: Case, record: dict[str, Any]) -> None:
        self._hook.pytest_disagg_record(case=case, record=record)
