"""Ctrl-C and SIGTERM: to the pytest that started the roles, and to one that plays an aggregated case."""

from __future__ import annotations

import signal

from tests.faults.conftest import AGGR, LONG_AGGR, LONG_LOAD, SERVERS, Start, assert_red

PYTEST_INTERRUPTED = 2


def test_ctrl_c_ends_all_roles_and_the_run_says_so(start: Start) -> None:
    run = start(LONG_LOAD)
    run.wait_until_measuring()
    run.processes[0].send_signal(signal.SIGINT)
    assert run.end() == PYTEST_INTERRUPTED
    assert run.alive() == {}
    outcome = run.outcome()
    assert outcome["kind"] == "infrastructure"
    assert "stopped from outside" in outcome["red"][0]
    for role in SERVERS:
        assert "stopped from outside" in run.role_junit(role).headline, role
    assert "KeyboardInterrupt" in run.output()


def test_sigterm_ends_all_roles_and_leaves_a_junit_that_says_so(start: Start) -> None:
    run = start(LONG_LOAD)
    run.wait_until_measuring()
    run.processes[0].send_signal(signal.SIGTERM)
    assert run.end() != 0
    assert run.alive() == {}
    junit = run.junit()
    assert junit.headline.startswith("infrastructure: "), junit.text
    assert "stopped from outside (SIGTERM)" in junit.headline
    assert run.outcome()["kind"] == "infrastructure"


def test_sigterm_ends_the_session_not_only_its_case(prepare: Start) -> None:
    """The second case of the session must not be deployed by somebody who was told to stop."""
    run = prepare(AGGR)
    (run.folder / "cases" / "later.yaml").write_text((run.folder / "cases" / "alone.yaml").read_text())
    run.start([*run.pytest_argv(f"--disagg-set={LONG_AGGR}"), "test_it.py::test_e2e[aggr-later]"])
    run.wait_until_measuring()
    run.processes[0].send_signal(signal.SIGTERM)
    assert run.end() != 0
    assert run.alive() == {}
    assert_red(run, "infrastructure", "BENCHMARK", "in stage measure", "stopped from outside (SIGTERM)")
    assert not (run.work_dir / run.run_id / "aggr-later").exists()


def test_a_deployment_that_is_still_starting_is_ended_too(start: Start) -> None:
    run = start('sim.faults=[{role: "GEN_*", kind: slow_start, delay_s: 60}]', "timeouts.ready_s=50")
    run.wait_for(lambda: run.state("GEN_0").get("stage") == "ready", "GEN_0 to wait for its server")
    run.processes[0].send_signal(signal.SIGINT)
    assert run.end() == PYTEST_INTERRUPTED
    assert run.alive() == {}
