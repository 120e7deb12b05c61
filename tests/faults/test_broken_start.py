"""What is wrong before a run begins: the work directory, an engine's program, the role's own pytest."""

from __future__ import annotations

from tests.faults.conftest import AGGR, DISAGG, ROLES, Run, Start, assert_everybody_red, assert_red

NO_PROGRAM = """
import dataclasses
from pytest_disagg.engines.sim.engine import SimEngine

class Broken(SimEngine):
    name = "broken"

    def server(self, request):
        launch = super().server(request)
        if request.role != "GEN_0":
            return launch
        return dataclasses.replace(launch, argv=["no-such-program", *launch.argv])

def pytest_disagg_engines():
    return {"broken": Broken}
"""
FAILS_AFTERWARDS = """
import os
import pytest

@pytest.fixture(autouse=True)
def cleanup():
    yield
    if os.environ.get("DISAGG_SERVING_TYPE") == "CTX_0":
        raise RuntimeError("the cleanup of CTX_0 went wrong")
"""
BROKEN_ROLE = """
import os

if os.environ.get("DISAGG_SERVING_TYPE") == "GEN_0":
    raise ImportError("no module of GEN_0")
"""
BROKEN_HOOK = """
def pytest_disagg_stage(case, role, stage, event):
    if (role, stage, event) == ("BENCHMARK", "probe", "start"):
        raise RuntimeError("this hook is broken")
"""


def with_conftest(run: Run, text: str, *arguments: str) -> Run:
    (run.folder / "conftest.py").write_text(text)
    run.start(run.pytest_argv(*arguments))
    run.end()
    assert run.alive() == {}, run.output()
    return run


def test_a_work_directory_that_cannot_be_used_is_named(prepare: Start) -> None:
    for case_id in (DISAGG, AGGR):
        run = prepare(case_id)
        run.work_dir.parent.joinpath("runs").write_text("a file, not a folder")
        run.start(run.pytest_argv())
        assert run.end() == 1
        assert run.alive() == {}
        first = run.junit().headline
        assert first.startswith("infrastructure: BENCHMARK failed in stage launch: cannot use the run directory"), first
        assert str(run.work_dir) in first
        run.work_dir.unlink()


def test_a_program_that_cannot_be_started_is_infrastructure(prepare: Start) -> None:
    run = with_conftest(prepare(), NO_PROGRAM, "--disagg-engine=broken")
    assert_everybody_red(
        run,
        "infrastructure",
        "GEN_0",
        "in stage launch",
        "GEN server 0: cannot start 'no-such-program'",
        "No such file",
    )


def test_a_role_whose_pytest_does_not_get_to_its_test(prepare: Start) -> None:
    run = with_conftest(prepare(), BROKEN_ROLE)
    junit = assert_everybody_red(
        run, "infrastructure", "GEN_0", "its process ended with exit code 4 before it started", dead=["GEN_0"]
    )
    assert "no module of GEN_0" in junit.text


def test_an_exception_that_nobody_foresaw_is_told_with_its_traceback(prepare: Start) -> None:
    run = with_conftest(prepare(AGGR), BROKEN_HOOK)
    junit = assert_red(run, "infrastructure", "BENCHMARK", "in stage probe", "RuntimeError: this hook is broken")
    assert "in pytest_disagg_stage" in junit.text


def test_a_role_that_fails_after_a_good_outcome_is_not_hidden(prepare: Start) -> None:
    run = with_conftest(prepare(), FAILS_AFTERWARDS)
    junit = run.junit()
    assert (
        junit.headline == "infrastructure: CTX_0 failed in stage stop: its pytest failed after the outcome: exit code 1"
    )
    assert "the cleanup of CTX_0 went wrong" in junit.text
    assert junit.kind == "infrastructure"
    assert {run.state(role)["state"] for role in ROLES} == {"stopped"}
