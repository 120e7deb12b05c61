"""Which text, stage and words a failure has, whoever reads it and however late."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_disagg.errors import RunError
from pytest_disagg.rundir.files import to_json, write_text
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.rundir.outcome import Outcome
from pytest_disagg.rundir.state import Failure, RoleState
from pytest_disagg.rundir.watch import Watch, serving_stage
from pytest_disagg.rundir.writer import RoleWriter

CAUSE = Failure("GEN_0", "functional", "measure", "its GEN server 0 ended with exit code 3")
KILLED = '{"role": "GEN_0", "exit_code": null, "signal": "SIGKILL", "reason": ""}'


@pytest.fixture
def rundir(tmp_path: Path) -> RunDir:
    found = RunDir.of(tmp_path, "run", "case")
    found.make()
    return found


def benchmark(rundir: RunDir, *stages: str) -> None:
    """Publish that BENCHMARK went through ``stages``."""
    state = RoleState("BENCHMARK", stage=stages[-1], timeline=tuple((stage, 1.0, 2.0) for stage in stages))
    write_text(rundir.role("BENCHMARK"), to_json(state.to_dict()))


def test_a_role_that_follows_a_cause_has_the_headline_of_the_cause() -> None:
    follows = Failure("CTX_0", CAUSE.kind, CAUSE.stage, CAUSE.headline(), because_of="GEN_0")
    assert follows.headline() == CAUSE.headline()
    assert CAUSE.headline() == "functional: GEN_0 failed in stage measure: its GEN server 0 ended with exit code 3"


def test_the_serving_stage_is_the_last_one_that_needed_the_servers(rundir: RunDir) -> None:
    assert serving_stage(rundir) is None
    benchmark(rundir, "plan", "launch", "ready", "probe")
    assert serving_stage(rundir) == "probe"
    benchmark(rundir, "plan", "launch", "ready", "probe", "warm-up", "measure", "gate", "judge", "store", "stop")
    assert serving_stage(rundir) == "measure"
    benchmark(rundir, "ready", "measure", "accuracy", "gate", "judge", "store", "stop")
    assert serving_stage(rundir) == "accuracy"


@pytest.mark.parametrize(("state", "stage"), [("ready", "measure"), ("starting", "ready")])
def test_a_role_is_lost_in_the_stage_of_the_run_that_it_served(rundir: RunDir, state: str, stage: str) -> None:
    benchmark(rundir, "launch", "ready", "measure", "gate")
    told = RoleState.from_dict({"role": "GEN_0", "state": state, "stage": "ready"})
    write_text(rundir.role("GEN_0"), to_json(told.to_dict()))
    write_text(rundir.exit("GEN_0"), KILLED)
    (found,) = Watch(rundir, ["GEN_0"], heartbeat_timeout_s=10).failures()
    assert found.stage == stage


def test_a_role_that_comes_after_a_failed_run_ends_with_its_cause(rundir: RunDir) -> None:
    Outcome("run", "case", "failed", kind="functional", cause=CAUSE, red=(CAUSE.headline(),)).write(rundir)
    with pytest.raises(RunError) as caught:
        RoleWriter(rundir, RoleState("CTX_0")).claim()
    failure = Failure.of("CTX_0", caught.value)
    assert failure.headline() == CAUSE.headline()
    assert (failure.kind, failure.because_of) == ("functional", "GEN_0")
    assert "set DISAGG_RUN_ID to a new word" in failure.evidence[0]
    assert not rundir.role("CTX_0").exists()


def test_a_run_that_passed_is_over_for_whoever_comes_late(rundir: RunDir) -> None:
    Outcome("run", "case", "pass").write(rundir)
    with pytest.raises(RunError, match=r"run run is over: .* has an outcome, pass; set DISAGG_RUN_ID"):
        RoleWriter(rundir, RoleState("CTX_0")).claim()
    assert not rundir.role("CTX_0").exists()


def test_a_folder_where_a_role_cannot_write_is_named(tmp_path: Path) -> None:
    rundir = RunDir.of(tmp_path, "run", "case")
    with pytest.raises(RunError, match=rf"cannot use the run directory {rundir.path}: .*No such file") as caught:
        RoleWriter(rundir, RoleState("CTX_0")).claim()
    assert caught.value.kind == "infrastructure"
