"""The end of the ``store`` stage: what a run measured goes to the history and, if its id asks for it, to the stores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_disagg.records import record as records
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.rundir.outcome import Outcome
from pytest_disagg.store import registry
from pytest_disagg.store.local import WAIT_S, keep
from pytest_disagg.store.manifests import keep_manifest
from pytest_disagg.store.truth import belongs, file_name
from pytest_disagg.store.upload import upload
from pytest_disagg.verdict.history import HistoryError

UPLOAD_SHARE = 0.4
INDEX_SHARE = 0.2
LONGEST_UPLOAD_S = 10.0
"""The GPUs are still held while it lasts, and what does not get through is sent later."""


@dataclass(frozen=True)
class Stored:
    """``lines`` is what a person should see; ``missing`` says why the stores do not have all that they should."""

    lines: tuple[str, ...] = ()
    missing: str = ""

    def applied(self, outcome: Outcome, *, required: bool) -> Outcome:
        """``outcome`` with these lines; red where an upload was required and is missing. Its verdict never changes."""
        shown = replace(outcome, lines=(*outcome.lines, *self.lines))
        if not (required and self.missing):
            return shown
        red = (*outcome.red, f"infrastructure: --disagg-require-upload: {self.missing}")
        return replace(shown, red=red, kind=outcome.kind or "infrastructure")


def store(session: RoleSession, written: Sequence[records.Record], *, whole: bool) -> Stored:
    """Keep the records that belong to history and upload them if the case's id says so.

    ``whole`` is False for a run that failed or whose measurement cannot be trusted: it never becomes history.
    """
    options, case = session.options, session.case
    if options.history is None or case.rehearsal or not whole:
        return Stored()
    kept = [record for record in written if belongs(record)]
    if not kept:
        return Stored()
    name, limit_s = file_name(options.run_id, case.id.text), session.limits.store_s
    try:
        lines = keep(options.history, name, kept, wait_s=min(WAIT_S, limit_s * INDEX_SHARE))
        keep_manifest(options.history, options.run_id, case.id.text, session.rundir)
    except HistoryError as error:
        lines = [f"not kept in the history: {error}"]
    if not case.id.upload:
        return Stored(tuple(lines))
    sent = upload(options.history, name, kept, os.environ, limit_s=min(LONGEST_UPLOAD_S, limit_s * UPLOAD_SHARE))
    if not sent.uploaded:
        selects = ", ".join(registry.VARIABLES)
        words = f"{case.id.text} asks for an upload and no store is selected ({selects})"
        return Stored((*lines, words), words)
    shown = sent.lines()
    return Stored((*lines, *shown), "" if sent.ok else "; ".join(shown))
