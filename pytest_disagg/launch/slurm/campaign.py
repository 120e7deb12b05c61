"""Many cases of one command: which job is started when, what each line ended as. One poller follows all jobs."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from pytest_disagg.errors import DisaggError, RunError
from pytest_disagg.launch.lists.markers import Markers
from pytest_disagg.launch.local import Event
from pytest_disagg.launch.slurm.client import SlurmError
from pytest_disagg.launch.slurm.codes import CANCELLED, exit_code
from pytest_disagg.launch.slurm.follow import LOOK_S, Follower, Job, Times
from pytest_disagg.launch.slurm.result import JobResult
from pytest_disagg.launch.slurm.submit import Wanted
from pytest_disagg.records.gpu_hours import GpuHours, total
from pytest_disagg.rundir.outcome import shown

CONFIG = "config"
"""The kind of a case that was never started because its line or its file cannot be used."""
CONFIG_CODE = 4
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Task:
    """One case of the command. ``test`` is its node id as junit has it; ``where`` the line that names it.

    ``wanted`` is None where there is nothing to start; ``refusal`` then says why.
    """

    name: str
    test: str
    wanted: Wanted | None = None
    refusal: str = ""
    markers: Markers = field(default_factory=Markers)
    where: str = ""


@dataclass(frozen=True)
class Ending:
    """What a task ended as. ``verdict`` is the run's own word (beside its quarantine), or one of ``skipped``,
    ``not started``, ``xfailed``, ``xpassed``, ``cancelled``, ``failed``; ``code`` what it adds to the command's exit
    code; ``cause`` one line. ``gpu_hours`` are those of all its jobs, retries and requeued runs too; None where they
    are not known.
    """

    task: Task
    verdict: str
    code: int = 0
    kind: str = ""
    cause: str = ""
    result: JobResult | None = None
    times: Times | None = None
    gpu_hours: GpuHours | None = None

    @property
    def quarantined(self) -> bool:
        """Red, and not a failure, because the case is in quarantine."""
        return self.code == 0 and self.result is not None and self.result.excused and bool(self.result.red)


@dataclass(frozen=True)
class Rules:
    """``max_jobs`` bounds the jobs in flight, None for all at once.

    ``retries`` are those after infrastructure failures. ``stop_on_error`` starts nothing after the first red case;
    ``xfail_strict`` makes an unexpected pass red.
    """

    max_jobs: int | None = None
    retries: int = 0
    stop_on_error: bool = False
    xfail_strict: bool = False


class Campaign:
    """Starts tasks in their order and follows them to their end.

    ``start`` turns what is wanted into a job that Slurm has taken; it may raise DisaggError or OSError.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        start: Callable[[Wanted], Job],
        follower: Follower,
        say: Callable[[Event], None],
        rules: Rules | None = None,
    ) -> None:
        self._tasks = tuple(tasks)
        self._start = start
        self._follower = follower
        self._say = say
        self._rules = rules or Rules()
        self._queue = deque(range(len(self._tasks)))
        self._wanted = {index: task.wanted for index, task in enumerate(self._tasks)}
        self._open: dict[str, int] = {}
        self._retried = dict.fromkeys(self._queue, 0)
        self._spent: dict[int, GpuHours] = {}
        self._endings: dict[int, Ending] = {}
        self._stopped = ""
        self._cancelled = False
        self._cancel_now = False
        self._trouble = ""

    def run(self) -> list[Ending]:
        """Go on until every task has ended; the endings in the order of the tasks. May be called again after Ctrl-C."""
        while True:
            started = self.step()
            if not self._queue and not self._open:
                return self.endings()
            if not started:
                time.sleep(LOOK_S)

    def step(self) -> bool:
        """Look at the jobs in flight, start one if one may be started; whether one was."""
        if self._cancel_now:
            self._cancel_open()
        if self._open:
            self._follower.step()
            self._collect()
        return self._start_next()

    def cancel(self) -> None:
        """Start nothing more, and cancel what is in flight; a Slurm that does not answer is asked again."""
        self._cancelled = True
        self._cancel_now = True
        self._stopped = "the command was cancelled before this case was started"

    def abandon(self) -> None:
        """Cancel what is in flight and leave, for a caller that cannot go on: nobody would follow these jobs."""
        self.cancel()
        self._cancel_open()

    def endings(self) -> list[Ending]:
        """Every task's ending; of those that have none yet, that the command left them."""
        jobs = {index: job_id for job_id, index in self._open.items()}
        return [
            self._endings.get(index)
            or Ending(
                task, "cancelled", CANCELLED, cause=f"the command left without waiting for {_job(jobs.get(index))}"
            )
            for index, task in enumerate(self._tasks)
        ]

    def _start_next(self) -> bool:
        while self._queue:
            index = self._queue[0]
            ending = self._ending_without_a_job(self._tasks[index])
            if ending is None:
                if not self._room_for(self._tasks[index]):
                    return False
                with _undisturbed():
                    self._start_job(index)
                    self._queue.popleft()
                return True
            self._end(index, ending)
            self._queue.popleft()
        return False

    def _ending_without_a_job(self, task: Task) -> Ending | None:
        if task.markers.skip is not None:
            return Ending(task, "skipped", cause=task.markers.skip or "SKIP")
        if self._cancelled:
            return Ending(task, "cancelled", CANCELLED, cause=self._stopped)
        if self._stopped:
            return Ending(task, "not started", cause=self._stopped)
        if task.wanted is None:
            return Ending(task, "failed", CONFIG_CODE, CONFIG, task.refusal)
        return None

    def _room_for(self, task: Task) -> bool:
        in_flight = [self._tasks[index] for index in self._open.values()]
        if task.markers.isolated or any(other.markers.isolated for other in in_flight):
            return not in_flight
        return self._rules.max_jobs is None or len(in_flight) < self._rules.max_jobs

    def _start_job(self, index: int) -> None:
        task, wanted = self._tasks[index], self._wanted[index]
        if wanted is None:
            raise ValueError(f"{task.name} has nothing to start")
        try:
            job = self._start(wanted)
        except (DisaggError, OSError) as error:
            text = error.message if isinstance(error, RunError) else str(error)
            kind = error.kind if isinstance(error, RunError) else "infrastructure"
            red = (f"{kind}: job failed in stage launch: {text}",)
            result = JobResult(case=task.name, job_id="", run_id="", verdict="failed", kind=kind, red=red)
            self._end(index, self._judged(task, result, None))
            return
        self._open[job.job_id] = index
        self._follower.add(job)

    def _collect(self) -> None:
        for job_id, index in list(self._open.items()):
            result = self._follower.results.get(job_id)
            if result is None:
                continue
            self._spend(index, (*self._follower.earlier.get(job_id, ()), result))
            if not self._again(index, result):
                self._end(index, self._judged(self._tasks[index], result, self._follower.times[job_id]))
            del self._open[job_id]

    def _again(self, index: int, result: JobResult) -> bool:
        """Put a case that failed for its nodes' sake in front of the queue once more, without those nodes."""
        wanted = self._wanted[index]
        retry = result.kind == "infrastructure" and not result.cancelled and self._retried[index] < self._rules.retries
        if not retry or result.excused or self._stopped or wanted is None:
            return False
        exclude = tuple(dict.fromkeys((*wanted.exclude, *result.bad_nodes)))
        self._wanted[index] = replace(wanted, exclude=exclude)
        self._retried[index] += 1
        self._queue.appendleft(index)
        elsewhere = f", without {', '.join(exclude)}" if exclude else ""
        self._say(Event(f"{result.case}: {result.headline}\n{result.case}: submitting again{elsewhere}"))
        return True

    def _judged(self, task: Task, result: JobResult, times: Times | None) -> Ending:
        word = shown(result.verdict, result.quarantine)
        ending = Ending(task, word, exit_code(result), result.kind or "", "", result, times)
        if result.red:
            ending = replace(ending, cause=result.headline)
        if result.cancelled:
            return replace(ending, verdict="cancelled")
        if task.markers.xfail is None or ending.quarantined:
            return ending
        if ending.code:
            return replace(ending, verdict="xfailed", code=0)
        cause = f"passed, though {task.where or 'the list'} expects a failure: XFAIL ({task.markers.xfail})"
        strict = self._rules.xfail_strict
        return replace(
            ending, verdict="xpassed", cause=cause, code=CONFIG_CODE if strict else 0, kind=CONFIG if strict else ""
        )

    def _spend(self, index: int, results: Sequence[JobResult]) -> None:
        spent = total([self._spent.get(index), *(GpuHours.read(result.gpu_hours) for result in results)])
        if spent is not None:
            self._spent[index] = spent

    def _end(self, index: int, ending: Ending) -> None:
        self._endings[index] = replace(ending, gpu_hours=self._spent.get(index))
        if ending.code and self._rules.stop_on_error and not self._stopped:
            self._stopped = f"{ending.task.name} was red before this case was started (--stop-on-error)"
        if len(self._tasks) > 1:
            kind = f", {ending.kind}" if ending.kind else ""
            done = f"{len(self._endings)} of {len(self._tasks)} done"
            self._say(Event(f"{ending.task.name}: {ending.verdict}{kind} ({done})"))

    def _cancel_open(self) -> None:
        try:
            cancelled = self._follower.cancel()
        except SlurmError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._say(Event(f"cannot cancel yet, trying again: {error}"))
            return
        self._cancel_now = False
        if cancelled:
            self._say(Event(f"cancelling {', '.join(cancelled)}; Ctrl-C again to leave without waiting"))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C waits until the job's id is known. sbatch inherits that, or it could end with the job taken."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def interruptible_sleep(seconds: float) -> None:
    """Sleep between two attempts to hand a job over: nothing has been taken then, so Ctrl-C need not wait."""
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    try:
        time.sleep(seconds)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _job(job_id: str | None) -> str:
    return f"job {job_id}" if job_id else "it"
