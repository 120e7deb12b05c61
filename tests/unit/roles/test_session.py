"""A role's session: what is the cause when several things go wrong, and that its limits are those of the tree."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.config.case import Case
from pytest_disagg.engines.protocol import Launch
from pytest_disagg.errors import RunError
from pytest_disagg.process.child import Exit
from pytest_disagg.redact import redact
from pytest_disagg.roles.children import ServerProcess
from pytest_disagg.roles.options import NoHooks
from tests.unit.roles.conftest import SessionFactory


class BrokenHook(NoHooks):
    def stage(self, case: Case, role: str, stage: str, event: str) -> None:
        if event == "end":
            raise KeyError("somebody's hook")


def test_a_broken_hook_does_not_hide_why_the_stage_failed(make_session: SessionFactory) -> None:
    said: list[str] = []
    session = make_session(hooks=BrokenHook(), log=said.append)
    with (
        pytest.raises(RunError, match="the real cause"),
        session,
        session.stage("probe"),
    ):
        raise RunError("the real cause", kind="functional", stage="probe")
    state = json.loads(session.rundir.role("BENCHMARK").read_text())
    assert state["failure"]["message"] == "the real cause"
    assert any("somebody's hook" in line for line in said)


def test_a_broken_hook_fails_a_stage_that_went_well(make_session: SessionFactory) -> None:
    session = make_session(hooks=BrokenHook())
    with pytest.raises(RunError, match="KeyError"), session, session.stage("probe"):
        pass


def test_what_the_file_gives_to_a_server_is_known_as_secret(make_session: SessionFactory) -> None:
    with make_session(env={"HF_TOKEN": "plain-words-of-the-file"}):
        assert redact("a server that prints plain-words-of-the-file") == "a server that prints ***"


def test_a_run_that_is_over_says_what_it_was_at(make_session: SessionFactory) -> None:
    session = make_session()
    session._ends_at = 0.0
    session.progress = "con2, repeat 2 of 3: 1/4 requests"
    with pytest.raises(
        RunError,
        match=r"limit of 600 s \(slurm.timeout\) has passed; last seen: con2, repeat 2 of 3: 1/4 requests",
    ):
        session.check()


def test_the_limits_of_a_run_hold_all_its_repeats(make_session: SessionFactory) -> None:
    once, thrice = make_session(), make_session(repeat=3)
    assert thrice.limits.measure_s == pytest.approx(once.limits.measure_s / 3)


def test_a_run_directory_that_cannot_be_read_for_a_moment_does_not_end_a_role(
    make_session: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session()
    real, asked = session.monitor._watch.outcome, []

    def stale() -> Any:
        asked.append(1)
        if len(asked) == 1:
            raise OSError(116, "Stale file handle")
        return real()

    monkeypatch.setattr(session.monitor._watch, "outcome", stale)
    with session:
        assert session.wait_quietly(lambda: len(asked) > 1 and session.monitor.blind_s() == 0.0, limit_s=20)


class Process(ServerProcess):
    """Runs nothing; ``said`` hears what would be done to it."""

    def __init__(self, name: str, said: list[str], free: list[int] | None = None) -> None:
        super().__init__(name, Launch((name,)), Path(name), grace_s=1.0, env={})
        self._said, self._free = said, free or []

    def start(self, stage: str) -> None:
        for port in self._free:
            with socket.create_server(("127.0.0.1", port)):
                self._said.append(f"{self.name} has its port")

    def stop(self) -> Exit:
        self._said.append(f"{self.name} stopped")
        return Exit(0, None)


def test_what_was_started_last_is_stopped_first_and_what_others_lean_on_stays(make_session: SessionFactory) -> None:
    session, said = make_session(), list[str]()
    with session:
        session.servers += [Process(name, said) for name in ("etcd", "nats", "server", "frontend")]
        session.stop_servers(keep=2)
        assert said == ["frontend stopped", "server stopped"]
    assert said[2:] == ["nats stopped", "etcd stopped"]


def test_a_port_is_free_when_its_process_starts(make_session: SessionFactory) -> None:
    said: list[str] = []
    with make_session() as session:
        session.start(Process("server", said, [session.ports()]))
    assert said == ["server has its port", "server stopped"]


def test_facts_lie_beside_those_before(make_session: SessionFactory) -> None:
    with make_session() as session:
        session.publish_facts({"port": "1"})
        session.publish_facts({})
        session.publish_facts({"rendezvous": "h:2"})
        state = json.loads(session.rundir.role("BENCHMARK").read_text())
    assert state["facts"] == {"port": "1", "rendezvous": "h:2"}
