"""Where all jobs stand, with one call of squeue per poll. An outage is an outage: it never means that a job is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from pytest_disagg.launch.slurm import client
from pytest_disagg.launch.slurm.client import GONE, JobState, SlurmError

SHORTEST_S, LONGEST_S = 1.0, 15.0
AT_ONCE_S = 0.1
LONGEST_OUTAGE_S = 60.0
GROWTH = 1.5
MISSING_POLLS = 2
"""slurmctld forgets jobs that ended a while ago (MinJobAge). One answer without a job could be one that lags behind."""
LATE_POLLS = 10
"""The same while accounting still calls the job unfinished: slurmdbd can be late, even for ever."""

RESTARTED = frozenset(("BOOT_FAIL", "NODE_FAIL", "PREEMPTED"))
"""Ends after which Slurm may start a job again: only slurmctld knows whether it will."""


class Poller:
    """Asks for all jobs at once, the less often the longer nothing changes. Not thread-safe.

    ``trouble`` says what is wrong while Slurm does not answer, empty while it does.
    """

    def __init__(
        self,
        ask: Callable[[Iterable[str]], Mapping[str, JobState]] = client.queue,
        ask_accounting: Callable[[str], JobState | None] = client.accounted,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._ask_accounting = ask_accounting
        self._clock = clock
        self._interval_s = SHORTEST_S
        self._next_at = clock()
        self._missing: dict[str, int] = {}
        self.states: dict[str, JobState] = {}
        self.trouble = ""

    def poll(self, job_ids: Iterable[str]) -> dict[str, JobState]:
        """What is known of each job; asks only when it is time to."""
        wanted = [job_id for job_id in job_ids if not self._over(job_id)]
        if wanted and self._clock() >= self._next_at:
            self._refresh(wanted)
        return self.states

    def soon(self, after_s: float = SHORTEST_S) -> None:
        """Something happened that Slurm will know about: ask after so many seconds, then less and less often."""
        self._interval_s = after_s
        self._next_at = min(self._next_at, self._clock() + after_s)

    def _over(self, job_id: str) -> bool:
        return job_id in self.states and self.states[job_id].over

    def _refresh(self, wanted: list[str]) -> None:
        before = {job_id: self.states.get(job_id) for job_id in wanted}
        try:
            answer = self._ask(wanted)
        except SlurmError as error:
            self.trouble = str(error)
            self._ended(wanted)
            self._later(LONGEST_OUTAGE_S)
            return
        self.trouble = ""
        for job_id in wanted:
            if job_id in answer:
                self._missing.pop(job_id, None)
                self.states[job_id] = answer[job_id]
            else:
                self._forgotten(job_id)
        if before == {job_id: self.states.get(job_id) for job_id in wanted}:
            self._later(LONGEST_S)
        else:
            self._interval_s = SHORTEST_S
            self._next_at = self._clock() + SHORTEST_S

    def _ended(self, wanted: list[str]) -> None:
        """slurmctld does not answer: accounting may know of jobs that are over, its word on the others is too old."""
        for job_id in wanted:
            try:
                found = self._ask_accounting(job_id)
            except SlurmError:
                return
            if found is not None and found.over and found.state not in RESTARTED:
                self.states[job_id] = found

    def _forgotten(self, job_id: str) -> None:
        """slurmctld answered and has no such job: accounting may know how it ended."""
        try:
            found = self._ask_accounting(job_id)
        except SlurmError:
            found = None
        if found is not None and found.over:
            self.states[job_id] = found
            return
        self._missing[job_id] = self._missing.get(job_id, 0) + 1
        if self._missing[job_id] >= (MISSING_POLLS if found is None else LATE_POLLS):
            last = self.states.get(job_id, JobState(job_id, GONE))
            self.states[job_id] = replace(last, state=GONE)

    def _later(self, longest_s: float) -> None:
        self._next_at = self._clock() + self._interval_s
        self._interval_s = min(self._interval_s * GROWTH, longest_s)
