"""Follows submitted jobs to their end: what their roles do, what Slurm says, how each ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.launch.local import Event, Seen
from pytest_disagg.launch.slurm import client
from pytest_disagg.launch.slurm.jobdir import JobDir
from pytest_disagg.launch.slurm.poll import AT_ONCE_S, SHORTEST_S, Poller
from pytest_disagg.launch.slurm.result import NAME as RESULT
from pytest_disagg.launch.slurm.result import JobResult
from pytest_disagg.launch.slurm.settle import settle, settle_restarted
from pytest_disagg.launch.slurm.submission import Submission
from pytest_disagg.rundir.watch import Watch

LOOK_S = 0.25
RUNNING = "RUNNING"


@dataclass(frozen=True)
class Job:
    """A job that Slurm has taken."""

    job_id: str
    folder: JobDir
    submission: Submission


def find_job(work_dir: Path, job_id: str) -> Job | None:
    """The job by its id: the link in ``work_dir``, else where Slurm says its script lies; None if neither helps."""
    folder = JobDir.of_job(work_dir, job_id)
    if folder is None:
        try:
            script = client.show_job(job_id).get("Command", "")
        except client.SlurmError:
            script = ""
        folder = JobDir(Path(script).parent) if script.endswith("/job.sh") else None
    if folder is None or not folder.description.exists():
        return None
    return Job(job_id, folder, Submission.read(folder))


@dataclass
class Times:
    """When a job was handed over, seen to run, and seen to be over: seconds of this process's monotonic clock."""

    submitted: float
    started: float | None = None
    ended: float | None = None

    @property
    def waited_s(self) -> float | None:
        """From submission to the start, or to the end of a job that never started; None while it waits."""
        until = self.started if self.started is not None else self.ended
        return None if until is None else until - self.submitted

    @property
    def run_s(self) -> float | None:
        """From the start to the end; None before it, and for a job that never started."""
        return None if self.started is None or self.ended is None else self.ended - self.started


class Follower:
    """Follows jobs until all are over; more may be added at any time. ``say`` gets what a person wants to see.

    ``results`` is how each job ended, ``earlier`` how the runs ended that it played before Slurm requeued it.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        say: Callable[[Event], None],
        poller: Poller | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._jobs: dict[str, Job] = {}
        self._say = say
        self._poller = poller or Poller()
        self._clock = clock
        self._views: dict[str, _View] = {}
        self._shown: dict[str, str] = {}
        self._trouble = ""
        self.times: dict[str, Times] = {}
        self.results: dict[str, JobResult] = {}
        self.earlier: dict[str, list[JobResult]] = {}
        for job in jobs:
            self.add(job)

    def add(self, job: Job) -> None:
        """Follow one more job."""
        self._jobs[job.job_id] = job
        self.times[job.job_id] = Times(self._clock())
        self._poller.soon()

    def run(self) -> list[JobResult]:
        """Wait for every job, in whatever order they end; the results in the order of the jobs."""
        while self.step():
            time.sleep(LOOK_S)
        return [self.results[job_id] for job_id in self._jobs]

    def step(self) -> bool:
        """Look once; False when every job is over."""
        open_jobs = [job for job in self._jobs.values() if job.job_id not in self.results]
        states = self._poller.poll([job.job_id for job in open_jobs])
        self._say_trouble()
        for job in open_jobs:
            self._look(job)
            state = states.get(job.job_id)
            if state is None:
                continue
            self._say_state(state)
            if state.state == RUNNING:
                self._started(job.job_id)
            if state.over:
                result = settle(job.folder, job.submission, state)
                self.times[job.job_id].ended = self._clock()
                self.results[job.job_id] = result
        return len(self.results) < len(self._jobs)

    def cancel(self) -> list[str]:
        """Cancel every job that is not over; their ids.

        Raises:
            SlurmError: Slurm did not take it.
        """
        open_ids = [job_id for job_id in self._jobs if job_id not in self.results]
        if open_ids:
            client.cancel(open_ids)
            self._poller.soon()
        return open_ids

    def _look(self, job: Job) -> None:
        """Show what the roles of the job's current run did since the last look."""
        run_id = job.folder.run_id()
        if run_id is None:
            return
        view = self._views.get(job.job_id)
        if view is None or view.run_id != run_id:
            self._started(job.job_id)
            if view is not None:
                self.earlier.setdefault(job.job_id, []).append(
                    settle_restarted(job.submission, view.run_id, job.job_id)
                )
            view = self._views[job.job_id] = _View(job, run_id, self._say)
            self._say(Event(f"job {job.job_id}: run {run_id}, {job.submission.rundir(run_id).path}"))
            self._poller.soon()
        if (after_s := view.look()) is not None:
            self._poller.soon(after_s)

    def _started(self, job_id: str) -> None:
        times = self.times[job_id]
        if times.started is None:
            times.started = self._clock()

    def _say_state(self, state: client.JobState) -> None:
        words = [state.state, *([f"({state.reason})"] if state.reason and state.state == "PENDING" else [])]
        if state.state == "PENDING" and state.start:
            words.append(f"expected to start at {state.start}")
        if state.nodes:
            words.append(f"on {state.nodes}")
        text = f"job {state.job_id}: {' '.join(words)}"
        if self._shown.get(state.job_id) != text:
            self._shown[state.job_id] = text
            self._say(Event(text))

    def _say_trouble(self) -> None:
        if self._poller.trouble != self._trouble:
            self._trouble = self._poller.trouble
            self._say(
                Event(
                    f"Slurm does not answer, still waiting: {self._trouble}" if self._trouble else "Slurm answers again"
                )
            )


class _View:
    """One run of one job as its run directory shows it."""

    def __init__(self, job: Job, run_id: str, say: Callable[[Event], None]) -> None:
        self.run_id = run_id
        submission = job.submission
        self._watch = Watch(
            submission.rundir(run_id), submission.roles, heartbeat_timeout_s=submission.heartbeat_timeout_s
        )
        self._seen = Seen(lambda event: say(Event(f"job {job.job_id}: {event.text}", event.transient)))
        self._result = submission.rundir(run_id).path / RESULT
        self._over = self._written = False

    def look(self) -> float | None:
        """Seconds until Slurm should be asked again, where the run has just come nearer to its end."""
        for role in self._watch.roles:
            self._watch.read(role)
        self._seen.look(self._watch.states.values())
        if not self._over and self._watch.outcome() is not None:
            self._over = True
            return SHORTEST_S
        if not self._written and self._result.exists():
            self._written = True  # The last act of the job's script.
            return AT_ONCE_S
        return None
