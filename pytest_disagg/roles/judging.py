"""What a run is judged by, gathered before anything is deployed: baseline CSV, history, policy, accepted changes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_disagg.clients.choice import client_name
from pytest_disagg.records.record import Record
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.store.history import READ_S, open_history
from pytest_disagg.verdict.accepted import find
from pytest_disagg.verdict.accepted import load as load_accepted
from pytest_disagg.verdict.baseline import load as load_baseline
from pytest_disagg.verdict.choice import choose_baseline
from pytest_disagg.verdict.decide import Grounds
from pytest_disagg.verdict.history import HistoryError, SeriesKey
from pytest_disagg.verdict.policy import check_block, policy_of


@dataclass
class RunHistory:
    """The history of a run: each series is read once, whether to confirm a suspicion or to conclude.

    ``notes`` is what a person should know about how it was read.
    """

    path: Path
    environ: Mapping[str, str]
    notes: list[str] = field(default_factory=list)
    _read: dict[SeriesKey, Sequence[Record] | HistoryError] = field(default_factory=dict)
    _left_s: float = READ_S
    _unreachable: str = ""

    def series(self, key: SeriesKey) -> Sequence[Record]:
        """See :class:`pytest_disagg.verdict.history.History`; what failed once has failed for this run."""
        if key not in self._read:
            try:
                self._read[key] = self._asked(key)
            except HistoryError as error:
                self._read[key] = error
        found = self._read[key]
        if isinstance(found, HistoryError):
            raise found
        return found

    def _asked(self, key: SeriesKey) -> Sequence[Record]:
        """The series from the folder and, as long as it answers and READ_S is not used up by all series, the store."""
        begun = time.monotonic()
        environ = None if self._unreachable else self.environ
        with open_history(self.path, environ, read_s=self._left_s) as opened:
            try:
                found = opened.series(key)
            finally:
                self._unreachable = self._unreachable or opened.unreachable
                self.notes += [note for note in opened.notes if note not in self.notes]
        self._left_s -= time.monotonic() - begun
        if not found and self._unreachable:
            raise HistoryError(self._unreachable)
        return found


def grounds_of(session: RoleSession, gpu: str) -> tuple[Grounds, str]:
    """The grounds of a run, and words on which baseline was chosen and why.

    Raises:
        ConfigError: the baseline, accepted.yaml or the case's ``verdict`` block is wrong.
        UsageError: the policy or the baseline that was asked for is not there.
    """
    options, case = session.options, session.case
    choice = choose_baseline(options.baseline, options.stage_name, options.baseline_dirs, gpu, engine=case.engine)
    check_block(case.verdict, case.path)
    policy_of(options.policy, {}, branch=options.reference_branch)
    accepted = find(options.baseline_dirs)
    path, words = choice.path, f"baseline: {choice.words}" if choice.path else choice.words
    meant = client_name(case, None)
    if path is not None and options.baseline is None and options.client.name != meant:
        path, words = None, f"no baseline: {path} is of the file's client {meant}, this is {options.client.name}"
    grounds = Grounds(
        baseline=load_baseline(path) if path else None,
        history=RunHistory(options.history, os.environ) if options.history is not None else None,
        policy=options.policy,
        branch=options.reference_branch,
        block=case.verdict,
        accepted=load_accepted(accepted) if accepted else (),
    )
    return grounds, words
