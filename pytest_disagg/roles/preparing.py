"""Stage ``prepare``, before servers start: models are there, GPUs are fit, clocks are locked, the host is quiet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_disagg.config.case import ServerSpec
from pytest_disagg.machine.host import HostLook, between, look
from pytest_disagg.machine.processes import RunProcesses
from pytest_disagg.roles.rules import STAGE, rules_of
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.rundir.files import read_json, to_json, write_text
from pytest_disagg.rundir.writer import node_name

Timeline = Sequence[tuple[str, float, float | None]]


def prepare(session: RoleSession, spec: ServerSpec | None) -> None:
    """Make this role's node fit for the server ``spec`` that it is about to start; None: for the coordinator.

    The coordinator's node only needs the models. What was found and done goes to ``results/prepare.<ROLE>.json``. A
    case that asks for nothing of all this has no such stage.

    Raises:
        RunError: a model cannot be had, the machine is not fit, its clocks cannot be locked (``infrastructure``).
    """
    case = session.case
    looked_at = spec if rules_of(session) is not None or case.clocks is not None else None
    if case.model_source is None and looked_at is None:
        return
    # Here, for most roles do not get to it, and all of them would pay for it at their start.
    from pytest_disagg.roles.machine import check_gpus, lock_clocks, look_at_gpus, path_of
    from pytest_disagg.roles.model import have_models

    with session.stage(STAGE):
        done: dict[str, Any] = {}
        if case.model_source is not None:
            done["models"] = have_models(session, case.servers if spec is None else [spec])
        if looked_at is not None:
            gpus = look_at_gpus(session, looked_at)
            done["gpu"] = check_gpus(session, gpus)
            done["clocks"] = lock_clocks(session, looked_at, gpus)
        if found := {name: value for name, value in done.items() if value}:
            path = path_of(session, session.role)
            # The servers of an aggregated case share a file, and each may have a model of its own.
            before = read_json(path) or {}
            models = {**before.get("models", {}), **found.get("models", {})}
            write_text(path, to_json({**before, "node": node_name(), **found, "models": models}))


def await_prepared(session: RoleSession, roles: Sequence[str]) -> None:
    """Wait until each of ``roles`` has its model, so that fetching one takes nothing from the time for launching.

    Raises:
        RunError: not within ``timeouts.prepare_s``, see :meth:`RoleSession.wait`.
    """
    if session.case.model_source is None:
        return
    from pytest_disagg.roles.model import KEY

    def look() -> tuple[bool | None, str]:
        states = session.monitor.states
        waiting = [role for role in roles if role not in states or not _prepared(states[role].timeline)]
        words = [
            f"{role}: {states[role].progress or states[role].stage}" if role in states else role for role in waiting
        ]
        return (None if waiting else True), ", ".join(words)

    with session.stage(STAGE):
        session.wait(
            look,
            what=f"{len(roles)} roles to have their models",
            # Longer than theirs: whoever cannot have it says why.
            limit_s=session.limits.prepare_s + session.limits.grace_s,
            key=KEY,
            kind="infrastructure",
        )


def _prepared(timeline: Timeline) -> bool:
    return any(name == STAGE and ended is not None for name, _, ended in timeline)


@dataclass
class HostWatch:
    """BENCHMARK's host between the start of the deployment and the load."""

    session: RoleSession
    began: HostLook | None
    processes: RunProcesses

    @classmethod
    def begin(cls, session: RoleSession) -> HostWatch:
        """Look for the first time; not at all where the case's rules ask for nothing."""
        processes = RunProcesses(session.options.run_id)
        rules = rules_of(session)
        return cls(session, look(processes) if rules and rules.busy_host != "ignore" else None, processes)

    def conclude(self) -> list[str]:
        """What a person should know of the host before the load; a host too busy to be trusted goes to the gate."""
        rules = rules_of(self.session)
        if self.began is None or rules is None:
            return []
        load = between(self.began, look(self.processes))
        if load is None or load.others <= rules.max_host_cpu:
            return []
        text = (
            f"client host {node_name()}: {load.words()}; expected at most {rules.max_host_cpu:.0%} "
            "(machine.max_host_cpu)"
        )
        if rules.busy_host == "invalid":
            self.session.doubts.append(text)
            return []
        return [text]
