"""A report from run directories: read, with their history, and written as page or PDF."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_disagg.redact import redact
from pytest_disagg.report.history import with_history
from pytest_disagg.report.model import CaseReport, Report
from pytest_disagg.report.read import read_case
from pytest_disagg.rundir.files import write_text
from pytest_disagg.store.history import open_history
from pytest_disagg.verdict.history import HistoryError

if TYPE_CHECKING:
    from pytest_disagg.report.compare import Comparison

FILE_NAME = "report.html"


def read(folders: Sequence[Path], history: Path | None, *, others: Sequence[CaseReport] = ()) -> Report:
    """The cases in ``folders`` (run directories) with their history, then ``others`` that have no run directory.

    ``history`` is the folder of :func:`pytest_disagg.store.history.open_history`; None: figures without history.
    """
    cases = [read_case(folder) for folder in folders]
    notes = []
    if history is not None:
        try:
            with open_history(history) as opened:
                cases = [with_history(case, opened) for case in cases]
                notes = list(opened.notes)
        except HistoryError as error:
            notes = [f"The history could not be read: {error}"]
    runs = list(dict.fromkeys(case.run_id for case in cases))
    title = f"Run {runs[0]}" if len(runs) == 1 else f"{len(runs)} runs" if runs else "Report"
    created = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    return Report(title, created, (*cases, *others), tuple(redact(note) for note in notes))


def write_html(path: Path, report: Report, comparison: Comparison | None = None) -> None:
    """Write the page; the file appears whole.

    Raises:
        UsageError: Jinja2 is not installed.
        OSError: it cannot be written.
    """
    from pytest_disagg.report.page import render

    _write(path, render(report, comparison))


def write_markdown(path: Path, report: Report, comparison: Comparison | None = None) -> None:
    """Write the text for a merge request; the file appears whole.

    Raises:
        OSError: it cannot be written.
    """
    from pytest_disagg.report.markdown import render

    _write(path, render(report, comparison))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
