"""Every fault that the simulated engine can play: how the run ends, what its first line says, and who is red."""

from __future__ import annotations

import pytest

from tests.faults.conftest import (
    AGGR,
    PROBE,
    ROLES,
    SERVERS,
    WARM_UP,
    Start,
    assert_everybody_red,
    assert_red,
    cause_of_outcome,
    fault,
)

STARTED = PROBE + WARM_UP


def test_a_slow_start_is_waited_for(play: Start) -> None:
    run = play(fault("SERVER_0", "slow_start", delay_s=1.5), case_id=AGGR)
    junit = run.junit()
    assert junit.text == ""
    assert junit.kind == ""
    assert run.outcome()["stage_times"]["ready"] > 1


def test_a_start_slower_than_its_limit_ends_there(play: Start) -> None:
    run = play(
        fault("SERVER_0", "slow_start", delay_s=60),
        "timeouts.stall_s=1",
        "timeouts.ready_s=2",
        case_id=AGGR,
    )
    junit = assert_red(run, "functional", "BENCHMARK", "in stage ready", "waited 2 s (timeouts.ready_s)", "last seen: ")
    assert "503" in junit.headline
    assert "SERVER_0 listens on" in junit.text


def test_never_ready_ends_at_its_own_limit_and_says_what_was_last_seen(play: Start) -> None:
    run = play(fault("GEN_0", "never_ready"), "timeouts.stall_s=1", "timeouts.ready_s=3")
    junit = assert_everybody_red(
        run,
        "functional",
        "GEN_0",
        "in stage ready",
        "waited 3 s (timeouts.ready_s) for its GEN server 0",
        "last seen: ",
    )
    assert "503" in junit.headline
    assert "GEN_0 listens on" in junit.text
    assert cause_of_outcome(run)["because_of"] is None


@pytest.mark.parametrize("role", SERVERS)
def test_a_server_that_exits_under_load_is_the_cause_for_everyone(play: Start, role: str) -> None:
    run = play(fault(role, "exit", after_requests=STARTED + 4, exit_code=3))
    junit = assert_everybody_red(run, "functional", role, "in stage measure", "ended with exit code 3")
    assert f"{role} is ready" in junit.text
    assert f"fault exit after {STARTED + 4} requests" in junit.text
    cause = cause_of_outcome(run)
    assert (cause["role"], cause["exit_code"], cause["because_of"]) == (role, 3, None)
    assert {run.state(each)["failure"]["because_of"] for each in ROLES if each != role} == {role}


def test_an_aggregated_server_that_exits_under_load(play: Start) -> None:
    run = play(fault("SERVER_0", "exit", after_requests=STARTED + 4, exit_code=3), case_id=AGGR)
    junit = assert_red(run, "functional", "BENCHMARK", "in stage measure", "server 0 (tp1) ended with exit code 3")
    assert f"fault exit after {STARTED + 4} requests" in junit.text


def test_a_server_that_exits_at_its_start(play: Start) -> None:
    run = play(fault("CTX_0", "exit", exit_code=9))
    junit = assert_everybody_red(run, "functional", "CTX_0", "CTX server 0 ended with exit code 9")
    assert "fault exit after 0 requests" in junit.text


def test_a_hang_ends_at_the_stall_time_with_the_stacks_of_every_role(play: Start) -> None:
    run = play(fault("GEN_0", "hang", after_requests=STARTED + 4), "timeouts.stall_s=2")
    junit = assert_everybody_red(
        run, "functional", "BENCHMARK", "in stage measure", "no progress for 2 s (timeouts.stall_s)", "in flight"
    )
    assert "GEN_0 hangs from request" in junit.text
    for role in ROLES:
        stacks = run.rundir.stacks(role).read_text()
        assert "Thread 0x" in stacks or "Current thread" in stacks, role
        assert ("pytest_disagg.engines.sim" in stacks) == (role in SERVERS), role


def test_a_hang_from_the_first_request_on_ends_at_the_limit_of_the_probe(play: Start) -> None:
    run = play(fault("SERVER_0", "hang"), "timeouts.probe_s=2", case_id=AGGR)
    junit = assert_red(run, "functional", "BENCHMARK", "in stage probe", "waited 2 s (timeouts.probe_s) for tokens")
    assert "last seen: timeout" in junit.headline
    assert "SERVER_0 hangs from request 1 on" in junit.text
    assert "pytest_disagg.engines.sim" in run.rundir.stacks("BENCHMARK").read_text()


def test_failed_requests_are_counted_and_their_error_is_told(play: Start) -> None:
    run = play(fault("GEN_0", "fail_requests", after_requests=STARTED + 4))
    first = run.junit().headline
    assert first.startswith("functional: con4: 8 of 12 requests failed"), first
    assert "GEN_0 failed this request" in first
    assert run.junit().kind == "functional"
    for role in SERVERS:
        assert "8 of 12 requests failed" in run.role_junit(role).headline
        assert run.role_junit(role).headline.startswith("functional: ")
    assert run.rundir.records.exists(), "what was measured before is kept"


def test_requests_that_all_fail_are_seen_by_the_probe(play: Start) -> None:
    run = play(fault("SERVER_0", "fail_requests"), case_id=AGGR)
    assert_red(run, "functional", "BENCHMARK", "in stage probe", "HTTP 500", "SERVER_0 failed this request")


def test_empty_streams_make_the_measurement_invalid_and_nobody_else_red(play: Start) -> None:
    run = play(fault("GEN_0", "empty_streams", after_requests=STARTED + 4))
    junit = run.junit()
    assert junit.headline.startswith("invalid: "), junit.text
    assert "0 output tokens" in junit.headline
    assert junit.kind == "invalid"
    assert [run.role_junit(role).text for role in SERVERS] == ["", "", ""]


def test_streams_that_are_all_empty_are_seen_by_the_probe(play: Start) -> None:
    run = play(fault("SERVER_0", "empty_streams"), case_id=AGGR)
    assert_red(run, "functional", "BENCHMARK", "in stage probe", "got no tokens 3 times", "status 200 and 0 tokens")
