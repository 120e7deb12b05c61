"""``kill -9`` under load, of each role, of an engine, and of the pytest that started them all."""

from __future__ import annotations

import os
import signal

import pytest

from tests.faults.conftest import (
    AGGR,
    LONG_AGGR,
    LONG_LOAD,
    ROLES,
    Start,
    assert_all_gone,
    assert_everybody_red,
    assert_red,
)
from tests.waiting import until_gone


@pytest.mark.parametrize("role", ROLES)
def test_a_killed_role_is_the_cause_for_everyone(start: Start, role: str) -> None:
    run = start(LONG_LOAD)
    run.wait_until_measuring()
    run.kill(role)
    assert run.end() == 1
    assert run.alive() == {}
    junit = assert_everybody_red(
        run, "infrastructure", role, "in stage measure", "its process was killed by SIGKILL", dead=[role]
    )
    assert f"role {role} rank 0 node" in junit.text, "the last lines of the role's own log"
    assert {run.state(each)["failure"]["because_of"] for each in ROLES if each != role} == {role}


def test_a_killed_engine_is_a_server_that_crashed(start: Start) -> None:
    run = start(LONG_LOAD)
    run.wait_until_measuring()
    run.kill_engine("gen")
    assert run.end() == 1
    assert run.alive() == {}
    junit = assert_everybody_red(run, "functional", "GEN_0", "in stage measure", "GEN server 0 was killed by SIGKILL")
    assert "GEN_0 is ready" in junit.text


@pytest.mark.parametrize("case_id", ["disagg-e2e-fault", AGGR])
def test_nothing_outlives_a_killed_pytest(start: Start, case_id: str) -> None:
    run = start(LONG_LOAD if case_id != AGGR else LONG_AGGR, case_id=case_id)
    run.wait_until_measuring()
    os.kill(run.processes[0].pid, signal.SIGKILL)
    assert run.end() == -signal.SIGKILL
    assert_all_gone(run)
    if case_id != AGGR:
        assert run.outcome()["kind"] == "infrastructure"
        assert "stopped from outside (SIGTERM)" in run.outcome()["red"][0]


def test_a_killed_aggregated_engine(start: Start) -> None:
    run = start(LONG_AGGR, case_id=AGGR)
    run.wait_until_measuring()
    run.kill_engine("server")
    assert run.end() == 1
    assert run.alive() == {}
    assert_red(run, "functional", "BENCHMARK", "in stage measure", "server 0 (tp1) was killed by SIGKILL")


def test_a_killed_guard_takes_its_role_and_its_engine_with_it(start: Start) -> None:
    """The guard is what writes the exit file: without it only the still beat tells."""
    run = start(LONG_LOAD, "timeouts.heartbeat_timeout_s=3")
    run.wait_until_measuring()
    role = int(run.state("CTX_0")["pid"])
    guard = next(pid for pid, argv in run.alive().items() if "guard.py" in argv[3] and '"name": "CTX_0"' in argv[4])
    os.kill(guard, signal.SIGKILL)
    until_gone([role])
    assert run.end() == 1
    assert run.alive() == {}
    assert_everybody_red(run, "infrastructure", "CTX_0", "vanished: its beat stood still", dead=["CTX_0"])
