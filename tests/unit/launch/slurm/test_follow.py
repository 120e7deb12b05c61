"""A follower that gets jobs while it follows others: what is asked about, and how long each waited and ran."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pytest_disagg.launch.slurm.client import JobState
from pytest_disagg.launch.slurm.follow import Follower, Job, Times
from pytest_disagg.launch.slurm.jobdir import JobDir
from pytest_disagg.launch.slurm.poll import Poller
from pytest_disagg.launch.slurm.result import JobResult
from pytest_disagg.launch.slurm.submission import Submission


class Queue:
    """What squeue would say, and what it was asked."""

    def __init__(self) -> None:
        self.now = 0.0
        self.states: dict[str, str] = {}
        self.asked: list[list[str]] = []

    def ask(self, job_ids: Iterable[str]) -> Mapping[str, JobState]:
        self.asked.append(list(job_ids))
        return {job_id: JobState(job_id, self.states[job_id]) for job_id in self.asked[-1]}

    def clock(self) -> float:
        return self.now


def job(folder: Path, job_id: str) -> Job:
    """A job whose run has written its result, which counts once Slurm says that the job is over."""
    path = folder / job_id
    path.mkdir()
    submission = Submission("case", str(folder), "lab", (), {}, 1.0, "t.py::test")
    (path / "run_id").write_text(f"{job_id}.0")
    rundir = submission.rundir(f"{job_id}.0")
    rundir.path.mkdir(parents=True)
    JobResult("case", job_id, f"{job_id}.0", "pass").write(rundir)
    return Job(job_id, JobDir(path), submission)


def test_a_job_is_added_while_another_runs(tmp_path: Path) -> None:
    queue = Queue()
    poller = Poller(ask=queue.ask, ask_accounting=lambda job_id: None, clock=queue.clock)
    follower = Follower((), lambda event: None, poller, queue.clock)
    assert not follower.step()
    follower.add(job(tmp_path, "1"))
    queue.states["1"] = "RUNNING"
    queue.now = 2.0
    assert follower.step()
    follower.add(job(tmp_path, "2"))
    queue.states["2"] = "RUNNING"
    queue.now = 5.0
    follower.step()
    queue.states["1"] = "COMPLETED"
    queue.now = 9.0
    assert follower.step()
    queue.states["2"] = "COMPLETED"
    queue.now = 30.0
    assert not follower.step()
    assert queue.asked == [["1"], ["1", "2"], ["1", "2"], ["2"]]
    assert list(follower.results) == ["1", "2"]
    assert follower.times == {"1": Times(0.0, 2.0, 9.0), "2": Times(2.0, 5.0, 30.0)}


def test_times() -> None:
    assert (Times(1.0).waited_s, Times(1.0).run_s) == (None, None)
    assert (Times(1.0, ended=4.0).waited_s, Times(1.0, ended=4.0).run_s) == (3.0, None)
    assert (Times(1.0, 3.0, 10.0).waited_s, Times(1.0, 3.0, 10.0).run_s) == (2.0, 7.0)
