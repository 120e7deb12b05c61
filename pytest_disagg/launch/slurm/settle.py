"""How a job that Slurm calls over ended: what it wrote itself, else what can be said from outside."""

from __future__ import annotations

from pytest_disagg.launch.slurm import client
from pytest_disagg.launch.slurm.client import JobState, SlurmError
from pytest_disagg.launch.slurm.conclude import Ending, conclude
from pytest_disagg.launch.slurm.explain import Evidence, Explanation, explain
from pytest_disagg.launch.slurm.facts import read_facts
from pytest_disagg.launch.slurm.jobdir import JobDir
from pytest_disagg.launch.slurm.junit import write_junit
from pytest_disagg.launch.slurm.quarantine import standing_of
from pytest_disagg.launch.slurm.result import JobResult
from pytest_disagg.launch.slurm.submission import Submission
from pytest_disagg.records.gpu_hours import GpuHours
from pytest_disagg.rundir.files import tail_lines

LOG_LINES = 20


def settle(folder: JobDir, submission: Submission, state: JobState) -> JobResult:
    """The result of a job that is over; written into the run directory where the job could not do so itself."""
    run_id = folder.run_id()
    if run_id is not None:
        rundir = submission.rundir(run_id)
        result = JobResult.read(rundir.path)
        if result is not None:
            return result
    evidence = _evidence(folder, state)
    explanation = explain(evidence)
    if run_id is not None:
        facts = read_facts(rundir.path)
        bad_nodes, held_s = tuple(evidence.bad_nodes), client.held_s(evidence.fields)
        return conclude(Ending(submission, rundir, state.job_id, facts, explanation, bad_nodes, held_s))
    text = (
        explanation.text if explanation else f"Slurm job {state.job_id} ended ({state.state}) before its script started"
    )
    reason = f" ({state.reason})" if state.reason and state.reason not in text else ""
    log = tail_lines(folder.log(state.job_id), LOG_LINES)
    held_s = client.held_s(evidence.fields)
    result = JobResult(
        case=submission.case,
        job_id=state.job_id,
        run_id="",
        verdict="failed",
        kind="infrastructure",
        red=(f"infrastructure: job failed in stage launch: {text}{reason}", *log),
        cancelled=explanation is not None and explanation.cancelled,
        nodes=state.nodes,
        bad_nodes=tuple(evidence.bad_nodes),
        # Nothing of the case has run, so nothing of it is excused.
        quarantine=standing_of(submission, state.nodes).words,
        junit=str(folder.path / "junit.xml"),
        gpu_hours=GpuHours.of(submission.gpus, held_s).to_dict() if submission.gpus and held_s else {},
    )
    write_junit(folder.path / "junit.xml", folder.path / "none.xml", submission.test, result, log)
    return result


def settle_restarted(submission: Submission, run_id: str, job_id: str) -> JobResult:
    """The result of a run that ended because its job was started again; Slurm may have left it no time to write one."""
    rundir = submission.rundir(run_id)
    explanation = Explanation(f"Slurm job {job_id} was requeued")
    return JobResult.read(rundir.path) or conclude(
        Ending(submission, rundir, job_id, read_facts(rundir.path), explanation)
    )


def _evidence(folder: JobDir, state: JobState) -> Evidence:
    """All that Slurm still says; a part of it that does not answer is left out."""
    fields: dict[str, str] = {}
    bad_nodes: dict[str, str] = {}
    accounted: JobState | None = None
    try:
        fields = client.show_job(state.job_id)
        nodes = fields.get("NodeList", state.nodes)
        bad_nodes = client.node_states(nodes) if nodes and nodes != "(null)" else {}
    except SlurmError:
        fields = fields or {}
    try:
        accounted = client.accounted(state.job_id)
    except SlurmError:
        accounted = None
    return Evidence(
        job_id=state.job_id,
        state=state.state,
        fields=fields,
        bad_nodes=bad_nodes,
        log_tail="\n".join(tail_lines(folder.log(state.job_id), LOG_LINES)),
        cancelled_by=accounted.cancelled_by if accounted else "",
        # The job is over, so no restart is ahead of it: earlier ones explain nothing.
        restart=int(fields.get("Restarts") or 0),
    )
