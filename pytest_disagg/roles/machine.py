"""A server's GPUs and the client's host before the load: what fails the run, what is noted, what keys its series."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_disagg.config.blocks import Clocks
from pytest_disagg.config.case import ServerSpec
from pytest_disagg.engines.protocol import Launch
from pytest_disagg.errors import RunError
from pytest_disagg.machine.clocks import Lock, give_back
from pytest_disagg.machine.findings import findings, series_facts, summary
from pytest_disagg.machine.processes import RunProcesses, told
from pytest_disagg.machine.smi import GpuState, mine, read
from pytest_disagg.process.child import GIVES_BACK, Exit
from pytest_disagg.records.nvidia_smi import SmiError
from pytest_disagg.roles.children import ServerProcess
from pytest_disagg.roles.rules import rules_of, unfit
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.rundir.files import read_json, write_text
from pytest_disagg.rundir.writer import node_name
from pytest_disagg.topology.placement import place

KEEPER = "keeper of the GPU clocks"
PERMITTED = (
    "; expected a user who may set clocks: run as root, let sudo do it (clocks.command: [sudo, -n, nvidia-smi]), or "
    "lock them in the cluster's prolog and leave clocks: out"
)
GIVE_BACK_S = 10.0
"""For the clocks to be given back when a role ends; the command has its own limit, of each try."""


def look_at_gpus(session: RoleSession, spec: ServerSpec) -> tuple[GpuState, ...]:
    """The GPUs of this role's server; empty, and said in its log, where there are none.

    Raises:
        RunError: they cannot be looked at (``infrastructure``).
    """
    rules = rules_of(session)
    if rules is None and session.case.clocks is None:
        return ()
    try:
        gpus = read(session.case.machine.timeout_s)
    except SmiError as error:
        raise unfit(f"the GPUs of {node_name()} cannot be looked at: {error}") from error
    if not gpus:
        why = "nvidia-smi is not on PATH" if gpus is None else "nvidia-smi finds none"
        session.log(f"no NVIDIA GPU on {node_name()} ({why}): no GPU was looked at")
        return ()
    return mine(gpus, {**os.environ, **spec.env})


def check_gpus(session: RoleSession, gpus: tuple[GpuState, ...]) -> dict[str, Any]:
    """Hold ``gpus`` against the case's rules; what they are like, for the manifest.

    Raises:
        RunError: what the rules call a failure (``infrastructure``): every such finding.
    """
    rules, clocks = rules_of(session), session.case.clocks
    if not gpus:
        return {}
    locked = (clocks.gpu_mhz, clocks.memory_mhz) if clocks else None
    facts = {**summary(gpus), "node": node_name(), "series": series_facts(gpus, locked)}
    if rules is None:
        return facts
    found = findings(gpus, rules, RunProcesses(session.options.run_id).has, told)
    if failing := [each.text for each in found if each.action == "fail"]:
        more = f", and {len(failing) - 1} more" if len(failing) > 1 else ""
        raise unfit(f"node {node_name()}: {failing[0]}{more}", failing[1:])
    for each in found:
        session.say(f"node {node_name()}: {each.text}")
    return {**facts, "findings": [each.text for each in found]}


def lock_clocks(session: RoleSession, spec: ServerSpec, gpus: tuple[GpuState, ...]) -> dict[str, Any]:
    """Lock the clocks of ``gpus`` as the case says, until this role ends; what was set and what they have now.

    Raises:
        RunError: there is nothing to lock, or it cannot be done, or not on all nodes of the server
            (``infrastructure``).
    """
    clocks = session.case.clocks
    if clocks is None:
        return {}
    _check_nodes(session, spec)
    if not gpus:
        raise unfit(f"clocks: node {node_name()} has no NVIDIA GPU whose clocks could be locked")
    _check_range(clocks, gpus)
    folder = session.rundir.config(session.role)
    lock = Lock(
        command=clocks.command,
        uuids=tuple(gpu.uuid for gpu in gpus),
        gpu_mhz=clocks.gpu_mhz,
        memory_mhz=clocks.memory_mhz,
        timeout_s=session.case.machine.timeout_s,
        answer=folder / "clocks.json",
    )
    lock.answer.unlink(missing_ok=True)
    keeper = ClockKeeper(lock, folder / "clocks.request.json", session.rundir.log(f"{session.role}.clocks"))
    session.start(keeper)

    def look() -> tuple[Mapping[str, Any] | None, str]:
        return keeper.answer(), f"no answer in {lock.answer}"

    answer = session.wait(
        look,
        what=f"the clocks of {len(gpus)} GPUs to be locked",
        # Each command has its own limit; together with the look at the clocks that follows they are three.
        limit_s=4 * lock.timeout_s,
        key="machine.timeout_s x 4",
        kind="infrastructure",
    )
    if not answer["locked"]:
        session.servers.remove(keeper)
        keeper.stop()
        raise keeper.refused(answer)
    session.log(f"clocks of {len(gpus)} GPUs locked to {clocks.gpu_mhz} MHz, now {answer.get('sm_mhz', 'unknown')}")
    locked = {name: value for name, value in answer.items() if name != "locked"}
    return {"gpu_mhz": clocks.gpu_mhz, "memory_mhz": clocks.memory_mhz, "at_lock": locked}


def _check_nodes(session: RoleSession, spec: ServerSpec) -> None:
    """Clocks that are locked on some nodes of a server alone are no measurement of either."""
    case, engine = session.case, session.options.engine
    if engine.on_every_node(case, spec) or engine.around_pytest(case, spec):
        return
    nodes = max(len(server.nodes) for server in place(case).servers if server.spec == spec)
    if nodes > 1:
        raise unfit(
            f"clocks: server {spec.name} has {nodes} nodes and engine {case.engine} starts it from the first one "
            "alone; expected an engine that starts a process on each, or clocks that the cluster's prolog locks"
        )


def _check_range(clocks: Clocks, gpus: Iterable[GpuState]) -> None:
    for gpu in gpus:
        for key, asked, most in (
            ("gpu_mhz", clocks.gpu_mhz, gpu.max_sm_mhz),
            ("memory_mhz", clocks.memory_mhz, gpu.max_memory_mhz),
        ):
            if asked is not None and most is not None and asked > most:
                raise unfit(f"clocks.{key}: found {asked} MHz, expected at most {most} MHz of {gpu.name} {gpu.uuid}")


class ClockKeeper(ServerProcess):
    """The process that holds the clocks, see :mod:`pytest_disagg.machine.clocks`.

    It has no guard between itself and its role: it watches over its role itself, and must outlive it by what giving the
    clocks back takes.
    """

    def __init__(self, lock: Lock, request: Path, log: Path) -> None:
        argv = (sys.executable, "-m", "pytest_disagg.machine.clocks", str(request))
        super().__init__(KEEPER, Launch(argv, None, files={request: lock.to_json()}), log, grace_s=GIVE_BACK_S, env={})
        self._lock = lock
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, stage: str) -> None:
        """Start it; see :meth:`answer` for what comes of it."""
        for path, text in self.launch.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, text)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.launch.argv,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**os.environ, GIVES_BACK: "1"},
                start_new_session=True,
            )

    def answer(self) -> Mapping[str, Any] | None:
        """What it last said; None before it has locked anything."""
        return read_json(self._lock.answer)

    def ended(self) -> Exit | None:
        code = None if self._process is None else self._process.poll()
        if code is None:
            return None
        return Exit(code, None) if code >= 0 else Exit(None, signal.Signals(-code).name)

    def died(self, ended: Exit, stage: str) -> RunError:
        answer = self.answer()
        if answer is not None and answer.get("error"):
            return self.refused(answer)
        return unfit(f"the {self.name} ended before the run did: {ended}", self.tail(), stage)

    def refused(self, answer: Mapping[str, Any]) -> RunError:
        """The error of clocks that could not be locked."""
        words = str(answer.get("error") or answer)
        return unfit(f"clocks: node {node_name()}: {words}{PERMITTED if 'permission' in words.lower() else ''}")

    def stop(self) -> Exit | None:
        """End it and with it the lock; what it could not give back any more is given back here. Gives None: what is
        published of a role's processes is how its server ended.
        """
        process = self._process
        if process is None:
            return None
        process.terminate()
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(GIVE_BACK_S + self._lock.timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        answer = self.answer()
        held = answer is None or answer.get("locked") or answer.get("not_given_back")
        if held and (left := give_back(self._lock)):
            print(f"clocks: {left}", file=sys.stderr, flush=True)
        return None


def machine_of(session: RoleSession, roles: Iterable[str]) -> dict[str, Any]:
    """What each of ``roles`` (or node of it) wrote before its server started, by role; absent where nothing was."""
    found = {role: read_json(path_of(session, role)) for role in roles}
    return {role: facts for role, facts in found.items() if facts}


def path_of(session: RoleSession, role: str) -> Path:
    return session.rundir.results / f"prepare.{role}.json"
