"""Roles that nobody launches: five shells, one run directory, and no exit file that says who is gone."""

from __future__ import annotations

import json
import signal

import pytest

from tests.faults.conftest import LONG_LOAD, ROLES, Junit, Run, Start, assert_all_gone

STILL = "timeouts.heartbeat_timeout_s=6"
"""Longer than it takes the rest of the load to fail once a server is gone: failed requests must not be the cause."""


def start_by_hand(run: Run, *sets: str, only: tuple[str, ...] = ROLES) -> None:
    """Start each role as a person would in a shell of its own."""
    for role in only:
        argv = run.pytest_argv(*(f"--disagg-set={item}" for item in sets), junit="r.xml")
        run.start(argv, role)


def junit_of(run: Run, role: str) -> Junit:
    """BENCHMARK's is the file that was asked for, the others' lie beside it."""
    return Junit.read(run.folder / ("r.xml" if role == "BENCHMARK" else f"r.{role}.xml"))


@pytest.mark.parametrize("victim", ["GEN_0", "BENCHMARK"])
def test_the_others_end_when_the_beat_of_a_killed_role_stands_still(prepare: Start, victim: str) -> None:
    run = prepare()
    start_by_hand(run, LONG_LOAD, STILL)
    run.wait_until_measuring()
    run.kill(victim, signal.SIGKILL)
    for role, process in zip(ROLES, run.processes, strict=True):
        assert run.end(process) == (-signal.SIGKILL if role == victim else 1), run.output(role)
    assert_all_gone(run)
    for role in ROLES:
        if role != victim:
            first = junit_of(run, role).headline
            assert first.startswith(f"infrastructure: {victim} failed in stage measure: vanished: its beat stood"), (
                first
            )


def test_roles_with_different_settings_refuse_each_other_by_both_digests(prepare: Start) -> None:
    run = prepare()
    start_by_hand(run, only=("GEN_0", "CTX_0", "DISAGG_SERVER"))
    start_by_hand(run, "benchmark.multi_round=2", only=("BENCHMARK",))
    assert [run.end(process) for process in run.processes] == [1, 1, 1, 1]
    assert run.alive() == {}
    # A role that starts after the others have found out finds the outcome: it names both all the same.
    mine, theirs = {state["digest"][:12] for role in ROLES if (state := run.state(role))}
    for role in ROLES:
        text = junit_of(run, role).headline
        assert text.startswith("infrastructure: "), text
        assert mine in text, text
        assert theirs in text, text
        assert "BENCHMARK runs config" in text, text


def test_ctrl_c_in_one_shell_ends_the_run_everywhere(prepare: Start) -> None:
    run = prepare()
    start_by_hand(run, LONG_LOAD)
    run.wait_until_measuring()
    run.processes[ROLES.index("CTX_0")].send_signal(signal.SIGINT)
    codes = [run.end(process) for process in run.processes]
    assert codes == [1, 2, 1, 1], codes
    assert run.alive() == {}
    for role in ROLES:
        if role != "CTX_0":
            first = junit_of(run, role).headline
            assert first == "infrastructure: CTX_0 failed in stage measure: interrupted (Ctrl-C)"


def test_a_role_that_nobody_started_is_named(prepare: Start) -> None:
    run = prepare()
    # Files of servers that this run has not got: names count, not how many files there are.
    run.rundir.make()
    for stray in ("CTX_1", "CTX_7"):
        run.rundir.role(stray).write_text(json.dumps({"role": stray, "state": "ready", "address": "127.0.0.1:1"}))
    only = ("GEN_0", "DISAGG_SERVER", "BENCHMARK")
    limits = ("timeouts.launch_s=5", "timeouts.ready_s=30")
    start_by_hand(run, *limits, only=only[:2])
    run.wait_for(lambda: run.state("GEN_0").get("state") == "ready" and bool(run.state("DISAGG_SERVER")), "two roles")
    start_by_hand(run, *limits, only=only[2:])
    assert [run.end(process) for process in run.processes] == [1, 1, 1]
    assert run.alive() == {}
    for role in only:
        first = junit_of(run, role).headline
        assert first.startswith("infrastructure: BENCHMARK failed in stage launch: waited 5 s (timeouts.launch_s)"), (
            first
        )
        assert "no sign of CTX_0" in first
