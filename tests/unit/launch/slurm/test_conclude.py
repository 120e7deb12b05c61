"""How a job ended, from the files that roles, steps and script leave behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import xmlschema

from pytest_disagg.launch.slurm.codes import exit_code, highest
from pytest_disagg.launch.slurm.conclude import SRUN_ENDED, Ending, conclude
from pytest_disagg.launch.slurm.explain import Explanation
from pytest_disagg.launch.slurm.facts import JobFacts, read_facts
from pytest_disagg.launch.slurm.junit import merge
from pytest_disagg.launch.slurm.result import JobResult
from pytest_disagg.launch.slurm.steps import first_srun_error
from pytest_disagg.launch.slurm.submission import Submission
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.rundir.outcome import Outcome
from pytest_disagg.rundir.state import Failure, RoleState

XSD = Path(__file__).resolve().parents[3] / "data" / "junit.xsd"
CASE = "disagg-e2e-x"
ROLES = ("GEN_0", "CTX_0", "DISAGG_SERVER", "BENCHMARK")
GREEN = (
    '<testsuites><testsuite name="pytest" errors="0" failures="0" skipped="0" tests="1" time="1.0" '
    'timestamp="2026-01-01T00:00:00" hostname="h"><testcase classname="t" name="test_e2e[x]" time="1.0">'
    '<properties><property name="disagg_kind" value=""/></properties></testcase></testsuite></testsuites>'
)
CANCELLED = Explanation("Slurm job 7 was cancelled (scancel)", cancelled=True)
NODE_FAILURE = Explanation("Slurm job 7 ended because of a node failure: n2 (down)")


class Run:
    """A run directory in the making."""

    def __init__(self, tmp_path: Path) -> None:
        self.rundir = RunDir.of(tmp_path, "7.0", CASE)
        self.rundir.make()
        self.submission = Submission(
            CASE, str(tmp_path), "lab", ROLES, dict.fromkeys(ROLES, 1), 10.0, "t.py::test_e2e[x]"
        )

    def outcome(self, verdict: str = "pass", cause: Failure | None = None, **fields: Any) -> None:
        red = (cause.headline(),) if cause else ()
        Outcome("7.0", CASE, verdict, cause.kind if cause else None, cause, red, **fields).write(self.rundir)

    def failed(self, failure: Failure) -> None:
        state = RoleState(failure.role, state="failed", failure=failure)
        self.rundir.role(failure.role).write_text(json.dumps(state.to_dict()))

    def exit(self, role: str, code: int | None, signal: str | None = None, reason: str = "") -> None:
        said = {"role": role, "exit_code": code, "signal": signal, "reason": reason}
        self.rundir.exit(role).write_text(json.dumps(said))

    def srun(self, step: str, text: str) -> None:
        (self.rundir.logs / f"{step}.srun.log").write_text(text)

    def benchmark_junit(self, text: str = GREEN) -> None:
        self.rundir.junit("BENCHMARK").write_text(text)

    def conclude(self, explanation: Explanation | None = None, **facts: Any) -> JobResult:
        given = {"job_id": "7", "nodes": "n[1-2]", "stage": "ended", "steps": dict.fromkeys(ROLES, 0), **facts}
        return conclude(Ending(self.submission, self.rundir, "7", JobFacts(**given), explanation))

    @property
    def junit(self) -> str:
        return (self.rundir.path / "junit.xml").read_text()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def from_outside(role: str, signal: str = "SIGTERM") -> Failure:
    return Failure(role, "infrastructure", "measure", "stopped from outside (SIGTERM)", signal=signal)


def test_a_green_run_stays_green(run: Run) -> None:
    run.outcome()
    run.benchmark_junit()
    result = run.conclude()
    assert (result.verdict, result.kind, result.red, exit_code(result)) == ("pass", None, (), 0)
    assert "<failure" not in run.junit
    assert 'name="disagg_job_id" value="7"' in run.junit
    xmlschema.XMLSchema(str(XSD)).validate(run.junit)
    assert JobResult.read(run.rundir.path) == result


def test_a_worker_that_failed_is_seen_although_the_benchmark_passed(run: Run) -> None:
    run.outcome()
    run.benchmark_junit()
    run.srun("CTX_0", "srun: error: n2: task 0: Exited with exit code 3\n")
    result = run.conclude(steps={**dict.fromkeys(ROLES, 0), "CTX_0": 3})
    assert result.kind == "infrastructure"
    assert "CTX_0" in result.headline
    assert "its step ended with exit code 3: n2: task 0: Exited with exit code 3" in result.headline
    assert result.bad_nodes == ("n2",)
    assert exit_code(result) == 8
    assert 'failures="1"' in run.junit
    assert run.junit.count("<testcase ") == 1
    xmlschema.XMLSchema(str(XSD)).validate(run.junit)


def test_the_true_code_and_not_sruns(run: Run) -> None:
    cause = Failure("CTX_0", "functional", "measure", "its CTX server 0 ended: exit code 7", exit_code=7)
    run.outcome("failed", cause)
    result = run.conclude(steps={"CTX_0": 143, "GEN_0": 143, "DISAGG_SERVER": 1, "BENCHMARK": 1})
    assert (result.kind, exit_code(result)) == ("functional", 7)
    assert "exit code 7" in result.headline
    assert "143" not in result.headline


def test_without_an_outcome_the_cause_that_a_role_left_behind(run: Run) -> None:
    run.exit("BENCHMARK", None, "SIGKILL")
    run.failed(Failure("GEN_0", "infrastructure", "serve", "because", because_of="BENCHMARK"))
    result = run.conclude(steps={**dict.fromkeys(ROLES, 1), "BENCHMARK": 137})
    assert result.headline == (
        "infrastructure: BENCHMARK failed in stage launch: its process was killed by SIGKILL before it started"
    )
    written = Outcome.from_dict(json.loads(run.rundir.outcome.read_text()))
    assert (written.verdict, written.kind) == ("failed", "infrastructure")
    assert "test_e2e[x]" in run.junit
    xmlschema.XMLSchema(str(XSD)).validate(run.junit)


def test_slurms_reason_comes_before_what_the_roles_say_of_being_stopped(run: Run) -> None:
    run.outcome("failed", from_outside("BENCHMARK"))
    run.benchmark_junit()
    result = run.conclude(CANCELLED, steps=dict.fromkeys(ROLES, 143), signaled=1.0)
    assert result.headline == "infrastructure: job failed in stage measure: Slurm job 7 was cancelled (scancel)"
    assert (result.cancelled, exit_code(result)) == (True, 2)
    assert "stopped from outside" in run.junit


def test_what_roles_say_after_slurms_signal_follows_from_it(run: Run) -> None:
    run.outcome("failed", Failure("CTX_0", "functional", "launch", "its server was killed by SIGTERM"))
    result = run.conclude(CANCELLED, signaled=1.0, interrupted=True)
    assert "was cancelled" in result.headline
    assert (result.kind, result.cancelled) == ("infrastructure", True)


def test_a_step_that_slurm_ended_without_a_word_of_ours(run: Run) -> None:
    run.exit("CTX_0", 0, reason=SRUN_ENDED)
    run.outcome("failed", Failure("CTX_0", "infrastructure", "measure", "its process ended with exit code 0"))
    assert "node failure" in run.conclude(NODE_FAILURE, signaled=1.0).headline


def test_a_step_that_slurm_ended_as_another_role_heard_of_it(run: Run) -> None:
    run.exit("CTX_0", 0, reason=SRUN_ENDED)
    said = "infrastructure: CTX_0 failed in stage measure: its process ended with exit code 0 without a word"
    run.outcome("failed", Failure("GEN_0", "infrastructure", "measure", said, because_of="CTX_0"))
    assert "node failure" in run.conclude(NODE_FAILURE, signaled=1.0).headline


def test_a_cause_of_its_own_stays_the_cause(run: Run) -> None:
    run.outcome("failed", Failure("CTX_0", "functional", "measure", "exit code 7", exit_code=7))
    result = run.conclude(CANCELLED, signaled=1.0)
    assert (result.kind, result.cancelled) == ("functional", True)
    assert "exit code 7" in result.headline


def test_a_run_that_was_over_is_not_red_for_the_end_of_its_job(run: Run) -> None:
    run.outcome()
    run.benchmark_junit()
    result = run.conclude(CANCELLED, signaled=1.0, steps=dict.fromkeys(ROLES, 0))
    assert (result.verdict, result.kind, result.cancelled) == ("pass", None, False)


def test_a_node_failure_explains_a_role_that_vanished(run: Run) -> None:
    run.outcome("failed", Failure("GEN_0", "infrastructure", "measure", "vanished: its beat stood still"))
    assert "node failure: n2 (down)" in run.conclude(NODE_FAILURE).headline


def test_the_rank_that_died_is_the_cause(run: Run) -> None:
    run.outcome("failed", from_outside("GEN_0"))
    run.exit("GEN_0", 143, None, "rank 5 of this step ended: killed by SIGKILL")
    run.srun("GEN_0", "srun: error: n2: task 5: Killed\n")
    result = run.conclude(steps={**dict.fromkeys(ROLES, 1), "GEN_0": 137})
    assert "rank 5 of this step ended: killed by SIGKILL" in result.headline
    assert result.bad_nodes == ("n2",)


@pytest.mark.parametrize(
    ("code", "signal", "words"), [(None, "SIGKILL", "killed by SIGKILL"), (7, None, "exit code 7")]
)
def test_a_leader_that_slurm_left_no_time_for_words(run: Run, code: int | None, signal: str | None, words: str) -> None:
    run.submission = replace(run.submission, tasks={**run.submission.tasks, "GEN_0": 4})
    run.outcome("failed", from_outside("GEN_0"))
    run.exit("GEN_0", None, "SIGKILL", SRUN_ENDED)
    run.exit("GEN_0.1", None, "SIGTERM", "stopped by SIGTERM")
    run.exit("GEN_0.2", 0)
    run.exit("GEN_0.3", code, signal)
    result = run.conclude(steps={**dict.fromkeys(ROLES, 1), "GEN_0": 137})
    assert f"rank 3 of this step ended: {words} (its leader was stopped)" in result.headline


def test_an_install_that_failed(run: Run) -> None:
    (run.rundir.path / "install.log").write_text("pip: no space left\n")
    run.srun("install", "srun: error: n2: task 1: Exited with exit code 5\n")
    result = run.conclude(stage="install", steps={"install": 5})
    assert result.headline == (
        "infrastructure: install failed in stage launch: the install step failed: n2: task 1: Exited with exit code 5"
    )
    assert "no space left" in run.junit


@pytest.mark.parametrize("stopped", ["Exited with exit code 143", "Terminated"])
def test_a_task_that_was_stopped_is_not_the_one_that_failed(run: Run, stopped: str) -> None:
    """The leader of a step may end before srun hears of the rank that it ends for."""
    run.srun("install", f"srun: error: n1: task 0: {stopped}\nsrun: error: n2: task 1: Exited with exit code 5\n")
    result = run.conclude(stage="install", steps={"install": 5})
    assert result.headline.endswith("the install step failed: n2: task 1: Exited with exit code 5")
    assert result.bad_nodes == ("n2",)
    run.srun("install", f"srun: error: n1: task 0: {stopped}\n")
    assert first_srun_error(run.rundir, "install") == f": n1: task 0: {stopped}"


def test_the_task_that_failed_is_heard_through_what_the_others_print(run: Run) -> None:
    """They end later, and each prints its whole environment."""
    others = "".join(f" 0: VARIABLE_{number}=x\n10: VARIABLE_{number}=x\n" for number in range(2000))
    (run.rundir.path / "install.log").write_text(f" 1: pip: no space left\n{others}slurmstepd-n1: error: CANCELLED\n")
    run.srun("install", "srun: error: n[2-3]: tasks 1-2: Exited with exit code 5\n")
    run.conclude(stage="install", steps={"install": 5})
    assert "no space left" in run.junit
    assert "VARIABLE_" not in run.junit


def test_a_script_that_failed(run: Run) -> None:
    result = run.conclude(stage="launch", steps={}, error="job.sh:9: mkdir x: exit code 1")
    assert "the job script failed: job.sh:9: mkdir x: exit code 1" in result.headline


def test_nothing_at_all(run: Run) -> None:
    result = run.conclude(steps={})
    assert "the job ended without an outcome and without a cause" in result.headline
    assert exit_code(result) == 8


def test_of_several_cases_the_highest_code() -> None:
    kinds = (None, "regression", "infrastructure", "invalid")
    results = [JobResult(CASE, "7", "7.0", "x", kind) for kind in kinds]  # type: ignore[arg-type]
    assert highest(results) == 8
    assert highest([]) == 0


def test_one_junit_file_of_several(run: Run, tmp_path: Path) -> None:
    run.benchmark_junit()
    merge(tmp_path / "all.xml", [run.rundir.junit("BENCHMARK"), tmp_path / "missing" / "junit.xml"])
    text = (tmp_path / "all.xml").read_text()
    assert text.count("<testcase ") == 2
    assert "is missing or is no junit file" in text
    xmlschema.XMLSchema(str(XSD)).validate(text)


def test_facts_of_the_script(tmp_path: Path) -> None:
    assert read_facts(tmp_path) is None
    (tmp_path / "job.facts").write_text(
        "job_id 7\nrestart 1\nnodes n[1-2]\ngpus 8\nstarted 10\nends 70\nsignal_s 5\nended 20\nstage run\n"
        "signaled TERM 15\ninterrupted yes\nerror job.sh:1: false: exit code 1\nstep GEN_0 143\n"
    )
    facts = read_facts(tmp_path)
    assert facts == JobFacts(
        job_id="7",
        restart=1,
        nodes="n[1-2]",
        gpus=8,
        started=10.0,
        ends=70.0,
        ended=20.0,
        signal_s=5.0,
        stage="run",
        signaled=15.0,
        interrupted=True,
        error="job.sh:1: false: exit code 1",
        steps={"GEN_0": 143},
    )
    (tmp_path / "job.facts").write_text("what is this\n")
    with pytest.raises(ValueError, match="found 'what is this'"):
        read_facts(tmp_path)


def test_the_first_bad_check_of_a_node(run: Run) -> None:
    lines = [
        {"node": "n1", "check": "Python", "ok": True, "found": "3.11", "expected": "3.10 or newer"},
        {"node": "n2", "check": "free space", "ok": False, "found": "1 MiB in /r", "expected": "at least 100 MiB"},
        {"node": "n3", "check": "models", "ok": False, "found": "/m: Permission denied", "expected": "readable"},
    ]
    text = "\n".join(["a warning", *map(json.dumps, lines), '{"node": "n4", "che'])
    (run.rundir.path / "check.log").write_text(text)
    run.srun("check", "srun: error: n2: task 1: Exited with exit code 8\n")
    result = run.conclude(steps={"check": 8}, stage="check")
    assert result.headline == (
        "infrastructure: check failed in stage launch: node n2: free space: found 1 MiB in /r, expected at least "
        "100 MiB"
    )
    assert result.bad_nodes == ("n2", "n3")
    assert "node n3: models: found /m: Permission denied, expected readable" in run.junit


def test_a_check_that_could_not_be_started(run: Run) -> None:
    run.srun(
        "check", "slurmstepd: error: execve(): /x/python: No such file or directory\nsrun: error: n2: task 1: Bad\n"
    )
    result = run.conclude(steps={"check": 2}, stage="check")
    assert "the check step failed: n2: task 1: Bad" in result.headline
    assert "execve(): /x/python" in run.junit
    assert result.bad_nodes == ("n2",)


PRECHECKS = {"check": 0, "precheck.GEN_0": 143, "precheck.CTX_0": 5}


def test_the_precheck_that_failed_and_not_the_one_that_was_stopped(run: Run) -> None:
    run.srun("precheck.CTX_0", "srun: error: n2: task 0: Exited with exit code 5\n")
    (run.rundir.logs / "precheck.CTX_0.log").write_text("no link\n")
    result = run.conclude(steps=PRECHECKS, stage="precheck", precheck_s=3.0)
    assert result.headline == (
        "infrastructure: precheck.CTX_0 failed in stage launch: the precheck of CTX_0 failed: n2: task 0: Exited with "
        "exit code 5"
    )
    assert run.junit.count("<testcase ") == run.junit.count("<failure ") == 2
    assert run.junit.count("no link") == 2
    assert 'name="precheck" time="3.000"' in run.junit
    assert result.bad_nodes == ("n2",)


def test_a_precheck_that_took_too_long(run: Run) -> None:
    result = run.conclude(steps={**PRECHECKS, "precheck.CTX_0": 143}, stage="precheck", expired=300.0)
    assert "precheck.GEN_0 failed in stage launch: still running after 300 s, its limit" in result.headline


def test_a_green_precheck_beside_a_red_run(run: Run) -> None:
    run.outcome("failed", Failure("CTX_0", "functional", "measure", "its CTX server 0 ended: exit code 7", exit_code=7))
    run.benchmark_junit()
    run.conclude(steps={"precheck.GEN_0": 0, "GEN_0": 1, "BENCHMARK": 1}, precheck_s=1.0)
    assert (run.junit.count("<testcase "), run.junit.count("<failure ")) == (2, 1)
    xmlschema.XMLSchema(str(XSD)).validate(run.junit)


def test_a_role_that_the_job_had_to_stop_is_no_cause(run: Run) -> None:
    run.exit("CTX_0", None, "SIGKILL")
    run.exit("BENCHMARK", None, "SIGKILL")
    result = run.conclude(steps={**dict.fromkeys(ROLES, 1), "CTX_0": 137, "BENCHMARK": 137}, late=("CTX_0",))
    assert result.headline.startswith("infrastructure: BENCHMARK failed")


def test_what_a_role_says_that_the_job_had_to_stop_comes_after_what_ended_by_itself(run: Run) -> None:
    run.failed(Failure("GEN_0", "infrastructure", "launch", "GEN server 0: cannot start 'x': its guard said nothing"))
    run.exit("CTX_0", 1, reason=SRUN_ENDED)
    steps = {**dict.fromkeys(ROLES, 143), "CTX_0": 1}
    assert run.conclude(steps=steps, late=("GEN_0", "BENCHMARK")).headline.startswith("infrastructure: CTX_0 failed")


HOURS = {"allocated": 1.0, "useful": 0.5, "wasted": 0.5}


def test_gpu_hours_are_those_of_the_whole_job(run: Run) -> None:
    run.outcome(gpu_hours=HOURS)
    result = run.conclude(gpus=8, started=1000.0, ended=2800.0)
    assert result.gpu_hours == {"allocated": 4.0, "useful": 0.5, "wasted": 3.5}
    assert JobResult.read(run.rundir.path) == result


def test_a_job_that_ended_without_an_outcome_wasted_all(run: Run) -> None:
    result = run.conclude(gpus=8, started=1000.0, ended=2800.0)
    assert result.gpu_hours == {"allocated": 4.0, "useful": 0.0, "wasted": 4.0}


def test_a_job_that_failed_after_its_outcome_wasted_all(run: Run) -> None:
    run.outcome(gpu_hours=HOURS)
    result = run.conclude(gpus=8, started=1000.0, ended=2800.0, steps={**dict.fromkeys(ROLES, 0), "CTX_0": 3})
    assert result.gpu_hours == {"allocated": 4.0, "useful": 0.0, "wasted": 4.0}


def test_a_job_whose_script_wrote_nothing_was_as_long_as_slurm_says(run: Run) -> None:
    submission = replace(run.submission, gpus=4)
    result = conclude(Ending(submission, run.rundir, "7", None, CANCELLED, held_s=900.0))
    assert result.gpu_hours == {"allocated": 1.0, "useful": 0.0, "wasted": 1.0}


def test_without_any_length_what_benchmark_knew(run: Run) -> None:
    run.outcome(gpu_hours=HOURS)
    assert conclude(Ending(run.submission, run.rundir, "7", None, None)).gpu_hours == HOURS


def test_nothing_known_is_nothing_said(run: Run) -> None:
    assert run.conclude(started=1000.0, ended=2800.0).gpu_hours == {}
