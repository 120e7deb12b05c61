"""How a job ended: what BENCHMARK wrote, what the roles left behind, how the steps ended, what Slurm says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from pytest_disagg.errors import Kind
from pytest_disagg.launch.slurm.explain import Explanation
from pytest_disagg.launch.slurm.facts import JobFacts
from pytest_disagg.launch.slurm.junit import write_junit
from pytest_disagg.launch.slurm.precheck import add_precheck
from pytest_disagg.launch.slurm.quarantine import standing_of
from pytest_disagg.launch.slurm.result import JobResult
from pytest_disagg.launch.slurm.steps import (
    CHECK,
    EVIDENCE_LINES,
    bad_checks,
    failure_before,
    first_srun_error,
    srun_said,
)
from pytest_disagg.launch.slurm.submission import Submission
from pytest_disagg.records.gpu_hours import GpuHours
from pytest_disagg.rundir.files import read_json, tail_lines
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.rundir.outcome import Outcome
from pytest_disagg.rundir.state import Failure
from pytest_disagg.rundir.watch import Watch, cause_of
from pytest_disagg.topology.hosts import expand

FAILED = "failed"
JOB = "job"
"""The role of a failure that no role of the run had."""
SIGNALS_FROM_OUTSIDE = ("SIGTERM", "SIGKILL")
SRUN_ENDED = "its srun ended"
"""What the job script writes as the reason in the exit file of a role that left none."""


@dataclass(frozen=True)
class Ending:
    """All that is known about a job that is over. ``facts`` is None where its script wrote none; ``held_s`` is then how
    long Slurm says that the job had its nodes, None where it does not."""

    submission: Submission
    rundir: RunDir
    job_id: str
    facts: JobFacts | None
    explanation: Explanation | None
    bad_nodes: Sequence[str] = ()
    held_s: float | None = None


def conclude(ending: Ending) -> JobResult:
    """Decide how the run ended, write ``outcome.json`` where BENCHMARK could not, ``junit.xml`` and ``job.json``."""
    outcome, written = _outcome(ending)
    cause = _final_cause(ending, outcome)
    if not written:
        outcome.write(ending.rundir)
    red = list(outcome.red)
    kind = outcome.kind
    if cause is not None and (not red or red[0] != cause.headline()):
        red = [cause.headline(), *(line for line in red if line != cause.headline())]
        kind = cause.kind
    rundir = ending.rundir
    junit = rundir.path / "junit.xml"
    result = JobResult(
        case=ending.submission.case,
        job_id=ending.job_id,
        run_id=rundir.path.parent.name,
        verdict=FAILED if cause is not None else outcome.verdict,
        kind=cast("Kind | None", kind),
        red=tuple(red),
        cancelled=ending.explanation is not None and ending.explanation.cancelled and cause is not None,
        run_dir=str(rundir.path),
        nodes=ending.facts.nodes if ending.facts else "",
        bad_nodes=_bad_nodes(ending, cause),
        steps=ending.facts.steps if ending.facts else {},
        words=outcome.words,
        metrics=outcome.metrics,
        lines=outcome.lines,
        junit=str(junit),
        quarantine=outcome.quarantine,
        excused=outcome.excused,
        gpu_hours=_gpu_hours(ending, outcome, failed=cause is not None or outcome.verdict == FAILED),
    )
    evidence = cause.evidence if cause is not None else ()
    write_junit(junit, rundir.junit("BENCHMARK"), ending.submission.test, result, evidence)
    if ending.facts is not None:
        add_precheck(junit, ending.facts, cause)
    result.write(rundir)
    return result


def _gpu_hours(ending: Ending, outcome: Outcome, *, failed: bool) -> dict[str, float]:
    """Those of the whole job; what BENCHMARK knows of them where neither script nor Slurm says how long it was."""
    known = GpuHours.read(outcome.gpu_hours)
    facts = ending.facts
    hours = None
    if facts is not None and facts.gpus is not None and facts.started is not None and facts.ended is not None:
        hours = GpuHours.of(facts.gpus, facts.ended - facts.started)
    elif ending.held_s is not None and ending.submission.gpus:
        hours = GpuHours.of(ending.submission.gpus, ending.held_s)
    elif known is not None:
        hours = GpuHours(known.allocated)
    if hours is None:
        return {}
    useful = known.useful if known is not None and not failed else 0.0
    return GpuHours(hours.allocated, min(useful, hours.allocated)).to_dict()


def _outcome(ending: Ending) -> tuple[Outcome, bool]:
    """What BENCHMARK wrote, True; without it one made from what the roles left behind, False."""
    written = read_json(ending.rundir.outcome)
    if written is not None:
        return Outcome.from_dict(written), True
    cause = _final_cause(ending, None) or Failure(
        JOB, "infrastructure", _stage(ending), "the job ended without an outcome and without a cause"
    )
    standing = standing_of(ending.submission, ending.facts.nodes if ending.facts else "")
    return (
        Outcome(
            run_id=ending.rundir.path.parent.name,
            case=ending.submission.case,
            verdict=FAILED,
            kind=cause.kind,
            cause=cause,
            red=(cause.headline(),),
            lines=standing.lines,
            records=str(ending.rundir.records) if ending.rundir.records.exists() else "",
            quarantine=standing.words,
            excused=standing.excused,
        ),
        False,
    )


def _final_cause(ending: Ending, outcome: Outcome | None) -> Failure | None:
    """The failure to show first; None where the outcome stands as it is (whatever its verdict)."""
    cause = outcome.cause if outcome is not None else _left_behind(ending)
    if cause is not None:
        cause = _with_rank(ending, cause)
    if ending.explanation is not None and (cause is None or _interrupted(ending) or _from_outside(ending, cause)):
        if outcome is not None and outcome.kind is None:
            return None  # the run was over before Slurm ended the job
        stage = cause.stage if cause is not None else _stage(ending)
        evidence = (cause.headline(), *cause.evidence) if cause is not None else ()
        return Failure(JOB, "infrastructure", stage, ending.explanation.text, evidence=evidence)
    if cause is None and ending.facts is not None and (outcome is None or outcome.kind is None):
        return _of_steps(ending, ending.facts)
    return cause


def _left_behind(ending: Ending) -> Failure | None:
    roles = ending.submission.roles
    watch = Watch(ending.rundir, roles, heartbeat_timeout_s=ending.submission.heartbeat_timeout_s)
    late = ending.facts.late if ending.facts else ()
    failures = [each for each in watch.failures() if each.role not in late or each.signal not in SIGNALS_FROM_OUTSIDE]
    # A role that had to be stopped was late for a reason: what ended by itself was first.
    first = [each for each in failures if each.role not in late and each.because_of is None]
    return cause_of(first or failures)


def _interrupted(ending: Ending) -> bool:
    """Whether Slurm's signal came first: what any role says of its end then follows from it.

    A script that wrote nothing was killed with its job.
    """
    return ending.facts is None or ending.facts.interrupted


def _from_outside(ending: Ending, cause: Failure) -> bool:
    """Whether the cause is what a role, or the job script in its place, says when Slurm ends its job."""
    if cause.kind != "infrastructure":
        return False
    said = read_json(ending.rundir.exit(cause.because_of or cause.role)) or {}
    return cause.signal in SIGNALS_FROM_OUTSIDE or "vanished" in cause.message or said.get("reason") == SRUN_ENDED


def _with_rank(ending: Ending, cause: Failure) -> Failure:
    """A role that was stopped because another rank of its server ended: that rank is the cause."""
    if cause.signal != "SIGTERM" or cause.because_of is not None:
        return cause
    reason = _rank_to_blame(ending, cause.role)
    if not reason:
        return cause
    evidence = (*srun_said(ending.rundir, cause.role), *cause.evidence)
    return replace(cause, message=f"{reason} (its leader was stopped)", evidence=evidence)


def _rank_to_blame(ending: Ending, role: str) -> str:
    """Which other rank of that server ended badly by itself, in its leader's words or, where Slurm left it no time for
    them, as that rank's own exit file says; empty where none did."""
    reason = str((read_json(ending.rundir.exit(role)) or {}).get("reason") or "")
    if "rank" in reason:
        return reason
    for rank in range(1, ending.submission.tasks.get(role, 1)):
        said = read_json(ending.rundir.exit(f"{role}.{rank}")) or {}
        signal, code = said.get("signal"), said.get("exit_code")
        if signal != "SIGTERM" and (signal or code):
            return f"rank {rank} of this step ended: {f'killed by {signal}' if signal else f'exit code {code}'}"
    return ""


def _of_steps(ending: Ending, facts: JobFacts) -> Failure | None:
    """A step that failed where no role said anything: before its role started, or after the outcome."""
    rundir = ending.rundir
    before = failure_before(rundir, facts)
    if before is not None:
        return before
    if facts.error:
        return Failure(JOB, "infrastructure", _stage(ending), f"the job script failed: {facts.error}")
    for role, code in facts.steps.items():
        if code != 0:
            logs = (*srun_said(rundir, role), *tail_lines(rundir.pytest_log(role), EVIDENCE_LINES))
            text = f"its step ended with exit code {code}{first_srun_error(rundir, role)}"
            return Failure(role, "infrastructure", _stage(ending), text, evidence=logs, exit_code=code)
    return None


def _stage(ending: Ending) -> str:
    """The stage that BENCHMARK had reached."""
    state = read_json(ending.rundir.role("BENCHMARK"))
    return str(state["stage"]) if state and state.get("stage") else "launch"


def _bad_nodes(ending: Ending, cause: Failure | None) -> tuple[str, ...]:
    """The nodes that a retry avoids: those that Slurm has given up, else where the first task of the cause failed."""
    if ending.bad_nodes or cause is None or cause.kind != "infrastructure":
        return tuple(ending.bad_nodes)
    if cause.role == CHECK and (bad := bad_checks(ending.rundir)):
        return tuple(dict.fromkeys(said.node for said in bad))
    hosts, _, _ = first_srun_error(ending.rundir, cause.role).removeprefix(": ").partition(": task")
    return tuple(expand(hosts)) if hosts else ()
