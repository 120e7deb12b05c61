"""How a local run says it ended, from the files that its roles left."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_disagg.errors import RunError
from pytest_disagg.launch.command import PytestCommand
from pytest_disagg.launch.local import LocalRun
from pytest_disagg.process.child import Exit
from pytest_disagg.rundir.files import to_json, write_text
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.rundir.outcome import Outcome
from pytest_disagg.rundir.state import Failure, RoleState
from pytest_disagg.rundir.watch import Watch

ROLES = ("GEN_0", "DISAGG_SERVER", "BENCHMARK")
GOOD = Outcome(run_id="r1", case="c", verdict="pass", metrics={"con8": {"median_ttft": 1.5}})


@pytest.fixture
def run(tmp_path: Path) -> LocalRun:
    rundir = RunDir.of(tmp_path, "r1", "c")
    rundir.make()
    return LocalRun(
        rundir=rundir,
        run_id="r1",
        case_id="c",
        roles=ROLES,
        command=PytestCommand(node="t.py::t[c]", rootdir=tmp_path, inifile=None, options=()),
        limit_s=10,
        stop_s=1,
        grace_s=1,
        heartbeat_timeout_s=10,
    )


def publish(run: LocalRun, state: RoleState) -> None:
    write_text(run.rundir.role(state.role), to_json(state.to_dict()))


def watch(run: LocalRun) -> Watch:
    return Watch(run.rundir, ROLES, heartbeat_timeout_s=10)


def exit_of(code: int, reason: str = "") -> Exit:
    return Exit(exit_code=code, signal=None, reason=reason)


def test_the_outcome_is_what_the_client_wrote(run: LocalRun) -> None:
    GOOD.write(run.rundir)
    assert run.outcome(watch(run), None, dict.fromkeys(ROLES, exit_of(0))) == GOOD


def test_a_role_that_fails_after_a_good_outcome_makes_the_run_red(run: LocalRun) -> None:
    GOOD.write(run.rundir)
    ended = {**dict.fromkeys(ROLES, exit_of(0)), "DISAGG_SERVER": exit_of(1)}
    found = run.outcome(watch(run), None, ended)
    assert (found.verdict, found.kind) == ("failed", "infrastructure")
    assert found.red[0].startswith("infrastructure: DISAGG_SERVER failed in stage stop: its pytest failed after")
    assert found.metrics == GOOD.metrics


def test_a_role_that_the_launcher_itself_ended_does_not(run: LocalRun) -> None:
    GOOD.write(run.rundir)
    assert run.outcome(watch(run), None, {"GEN_0": exit_of(1, "stopped")}) == GOOD


def test_without_an_outcome_the_cause_is_the_roles_own(run: LocalRun) -> None:
    cause = Failure("GEN_0", "functional", "ready", "its server ended with exit code 3")
    publish(run, RoleState("GEN_0", state="failed", failure=cause))
    publish(
        run,
        RoleState(
            "DISAGG_SERVER",
            state="failed",
            failure=Failure("DISAGG_SERVER", "functional", "ready", cause.headline(), because_of="GEN_0"),
        ),
    )
    found = run.outcome(watch(run), None)
    assert (found.verdict, found.kind, found.cause) == ("failed", "functional", cause)
    assert found.red == ("functional: GEN_0 failed in stage ready: its server ended with exit code 3",)


def test_without_a_word_from_anybody_the_client_is_to_blame(run: LocalRun) -> None:
    found = run.outcome(watch(run), None)
    assert found.red == (
        "infrastructure: BENCHMARK failed in stage launch: ended without an outcome and without a cause",
    )


def test_the_launchers_own_limit_is_a_cause(run: LocalRun) -> None:
    overdue = Failure("GEN_0", "infrastructure", "launch", "the launcher's limit of 10 s passed")
    assert run.outcome(watch(run), overdue).cause == overdue


def test_a_role_that_was_stopped_before_it_started_names_who_was_told_to_stop(run: LocalRun) -> None:
    write_text(run.rundir.exit("BENCHMARK"), to_json({"exit_code": None, "signal": "SIGTERM", "reason": ""}))
    run.termination.reason = "stopped from outside (SIGTERM)"
    found = run.outcome(watch(run), None)
    assert found.red == ("infrastructure: BENCHMARK failed in stage launch: stopped from outside (SIGTERM)",)


def test_what_went_wrong_before_the_launcher_was_told_to_stop_stays_the_cause(run: LocalRun) -> None:
    cause = Failure("GEN_0", "functional", "ready", "its server ended with exit code 3")
    publish(run, RoleState("GEN_0", state="failed", failure=cause))
    run.termination.reason = "stopped from outside (SIGTERM)"
    assert run.outcome(watch(run), None).cause == cause


@pytest.mark.parametrize("used", ["outcome", "role"])
def test_a_run_that_is_over_is_refused_before_anything_starts(run: LocalRun, used: str) -> None:
    if used == "outcome":
        GOOD.write(run.rundir)
    else:
        publish(run, RoleState("GEN_0", state="stopped"))
    run.rundir.remove_secrets()
    with pytest.raises(RunError, match=r"run r1 is over: .* (has an outcome|already has a GEN_0).*; set DISAGG_RUN_ID"):
        run.start()
    # Nothing was made in the directory of the other run.
    assert not run.rundir.secrets.exists()
    assert not any(run.rundir.logs.iterdir())
