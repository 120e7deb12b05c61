"""One question for all jobs, less often while nothing changes; an outage never ends a job."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_disagg.launch.slurm.client import JobState, SlurmError
from pytest_disagg.launch.slurm.poll import LONGEST_OUTAGE_S, LONGEST_S, Poller


class Slurm:
    """A Slurm whose answers a test sets, with a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.jobs: dict[str, str] = {}
        self.down = ""
        self.accounting: dict[str, str] | None = None
        self.calls: list[list[str]] = []
        self.times: list[float] = []
        self.poller = Poller(self.ask, self.ask_accounting, lambda: self.now)

    def ask(self, ids: Iterable[str]) -> Mapping[str, JobState]:
        self.calls.append(list(ids))
        self.times.append(self.now)
        if self.down:
            raise SlurmError(self.down)
        return {job_id: JobState(job_id, state) for job_id, state in self.jobs.items()}

    def ask_accounting(self, job_id: str) -> JobState | None:
        if self.accounting is None:
            raise SlurmError("no accounting")
        state = self.accounting.get(job_id)
        return None if state is None else JobState(job_id, state)

    def pass_time(self, seconds: float, *ids: str) -> dict[str, JobState]:
        """Look four times a second, as whoever follows jobs does."""
        ends_at = self.now + seconds
        while self.now < ends_at:
            self.poller.poll(ids)
            self.now += 0.25
        return self.poller.states


def test_one_call_for_all_jobs() -> None:
    slurm = Slurm()
    ids = [str(number) for number in range(20)]
    slurm.jobs = dict.fromkeys(ids, "RUNNING")
    slurm.pass_time(0.25, *ids)
    assert slurm.calls == [ids]


def test_it_backs_off_while_nothing_changes() -> None:
    slurm = Slurm()
    slurm.jobs = {"1": "RUNNING"}
    slurm.pass_time(300, "1")
    gaps = [later - earlier for earlier, later in zip(slurm.times, slurm.times[1:], strict=False)]
    assert gaps[0] < 3
    assert gaps[-1] >= LONGEST_S
    assert gaps == sorted(gaps)


def test_a_hint_brings_the_next_poll_forward() -> None:
    slurm = Slurm()
    slurm.jobs = {"1": "RUNNING"}
    slurm.pass_time(300, "1")
    before = len(slurm.calls)
    slurm.poller.soon()
    slurm.pass_time(1.5, "1")
    assert len(slurm.calls) == before + 1


def test_jobs_that_are_over_are_not_asked_for_again() -> None:
    slurm = Slurm()
    slurm.jobs = {"1": "COMPLETED", "2": "RUNNING"}
    slurm.pass_time(20, "1", "2")
    assert slurm.calls[0] == ["1", "2"]
    assert set(map(tuple, slurm.calls[1:])) == {("2",)}


def test_an_outage_is_never_an_end() -> None:
    slurm = Slurm()
    slurm.jobs = {"1": "RUNNING"}
    slurm.pass_time(2, "1")
    slurm.down = "Unable to contact slurm controller"
    assert slurm.pass_time(3600, "1")["1"].state == "RUNNING"
    assert slurm.poller.trouble == slurm.down
    assert slurm.times[-1] - slurm.times[-2] >= LONGEST_OUTAGE_S
    slurm.down, slurm.jobs = "", {"1": "COMPLETED"}
    assert slurm.pass_time(LONGEST_OUTAGE_S + 1, "1")["1"].over
    assert slurm.poller.trouble == ""


def test_one_answer_without_the_job_is_not_the_end() -> None:
    slurm = Slurm()
    slurm.jobs = {"1": "RUNNING"}
    slurm.pass_time(1, "1")
    slurm.jobs = {}
    while slurm.poller.states["1"].state == "RUNNING" and slurm.now < 100:
        slurm.pass_time(0.25, "1")
    assert slurm.poller.states["1"].state == "GONE"
    asked = len([call for call in slurm.calls if call == ["1"]])
    assert asked >= 3


def test_accounting_says_how_a_forgotten_job_ended() -> None:
    slurm = Slurm()
    slurm.accounting = {"1": "TIMEOUT"}
    assert slurm.pass_time(0.25, "1")["1"].state == "TIMEOUT"


def test_accounting_that_is_late_does_not_end_a_job() -> None:
    slurm = Slurm()
    slurm.jobs = {"1": "RUNNING"}
    slurm.accounting = {"1": "RUNNING"}
    slurm.pass_time(1, "1")
    slurm.jobs = {}
    slurm.pass_time(10, "1")
    assert slurm.poller.states["1"].state == "RUNNING"
    # But a record that is never closed does not hold a wait for ever.
    assert slurm.pass_time(300, "1")["1"].over


def test_accounting_tells_of_the_end_while_slurmctld_does_not_answer() -> None:
    slurm = Slurm()
    slurm.jobs = {"1": "RUNNING", "2": "RUNNING", "3": "RUNNING"}
    slurm.pass_time(2, "1", "2", "3")
    slurm.down = "no route"
    slurm.accounting = {"1": "COMPLETED", "2": "RUNNING", "3": "NODE_FAIL"}
    states = slurm.pass_time(30, "1", "2", "3")
    assert states["1"].state == "COMPLETED"
    # One is known to go on, the other may be started again.
    assert not states["2"].over
    assert not states["3"].over
    assert slurm.poller.trouble == "no route"
