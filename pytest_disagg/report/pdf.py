"""The PDF: what the page says that can be printed, with the same figures."""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path

from pytest_disagg.errors import UsageError
from pytest_disagg.report.book import Book, Column
from pytest_disagg.report.compare import Comparison
from pytest_disagg.report.figures.choice import comparison_figures, figures_of
from pytest_disagg.report.figures.style import GREEN, INK, MUTED, RED, YELLOW, style, title_of
from pytest_disagg.report.model import CaseReport, Load, Report
from pytest_disagg.report.numbers import SLO_TITLES, columns_of, percent, short, slo_cells
from pytest_disagg.rundir.outcome import shown
from pytest_disagg.version import __version__

INSTALL = "pip install 'pytest-disagg[report]'"
RED_LINES = 4
"""Of so many reasons for which a case is red the cover shows the first; its own page has all."""
MAX_LOG_LINES = 60
"""Of one log; the page and the file itself have more."""
_COLOURS = {"pass": GREEN, "improvement": GREEN, "suspect": YELLOW, "insufficient-history": YELLOW}


def write(path: Path, report: Report, comparison: Comparison | None = None) -> None:
    """Write the PDF; the file appears whole.

    Raises:
        UsageError: matplotlib is not installed.
        OSError: it cannot be written.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError(f"PDF reports need the extra 'report': {INSTALL} ({error})") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        made = Path(folder) / "report.pdf"
        # What matplotlib warns of here is a sign that its font lacks, and no reason to fail a session.
        with warnings.catch_warnings(), style(), Book(made, report.title) as book:
            warnings.simplefilter("ignore")
            _cover(book, report)
            if comparison is not None:
                _comparison(book, comparison)
            for case in report.cases:
                _case(book, case)
        made.replace(path)


def _cover(book: Book, report: Report) -> None:
    book.text(report.title, size=17, bold=True)
    if report.cases:
        book.text(report.verdict, size=13, bold=True, colour=_colour(report.verdict, report.bad))
        book.text(report.summary, size=11)
    if report.gpu_hours:
        book.text(f"GPU-hours: {report.gpu_hours}")
    book.text(f"{report.created}, pytest-disagg {__version__}", colour=MUTED)
    for note in report.notes:
        book.text(note, colour=YELLOW)
    for case in report.cases:
        if case.bad:
            book.space(0.08)
            book.text(case.case, bold=True)
            more = [f"... and {len(case.red) - RED_LINES} more"] if len(case.red) > RED_LINES else []
            book.text("\n".join((*case.red[:RED_LINES], *more)) or case.verdict, size=8, mono=True, colour=RED)
    for case in report.quarantined:
        headline = f"\n{case.headline}" if case.pardoned and case.headline else ""
        book.text(f"{case.case}: {case.quarantine}{headline}", colour=YELLOW)
    if report.cases:
        book.space(0.15)
        _table_of_cases(book, report)


def _table_of_cases(book: Book, report: Report) -> None:
    metrics = columns_of(report.cases)
    numbers = [Column(f"{column.title} {column.unit}", 0.78, right=True) for column in metrics]
    fixed = [Column("point", 1.05), Column("verdict", 1.35)]
    name = book.width_in - sum(column.width_in for column in (*fixed, *numbers))
    rows = []
    for case in report.cases:
        for load in case.loads:
            cells = [_number(load, column.metric) for column in metrics]
            rows.append([case.case, load.label, shown(load.word, case.quarantine), *cells])
        if not case.loads:
            rows.append([case.case, "", case.shown_verdict, *("" for _ in metrics)])
    book.table([Column("case", name), *fixed, *numbers], rows)


def _case(book: Book, case: CaseReport) -> None:
    book.new_page()
    book.text(case.case, size=13, bold=True)
    when = time.strftime(", %Y-%m-%d %H:%M:%S", time.localtime(case.started_s)) if case.started_s else ""
    book.text(case.shown_verdict, size=10, bold=True, colour=_colour(case.verdict, case.bad))
    book.text(f"run {case.run_id}{when}", colour=MUTED)
    if case.quarantine:
        book.text(case.quarantine, colour=YELLOW)
    if case.gpu_hours:
        book.text(f"GPU-hours: {case.gpu_hours}", colour=MUTED)
    told = bool(case.rulings) and case.verdict == "regression"
    if case.evidence or (case.red and not told):
        book.space(0.06)
        book.text("\n".join((*case.red, *case.evidence)), size=8, mono=True, colour=RED)
    for line in (*case.lines, *(f"could not be read: {problem}" for problem in case.problems)):
        book.text(f"- {line}", size=8)
    for ruling in case.rulings:
        word = ruling.word if ruling.gates else f"{ruling.word} (reported only)"
        book.text(f"{ruling.load}: {word}: {ruling.evidence}", size=8, colour=RED if ruling.red else INK)
    for load in case.loads:
        if load.info and not case.rulings:
            book.text(f"{load.label}: {load.word}", size=8.5, bold=True)
            book.text(load.info.replace("; ", "\n"), size=8, indent_in=0.2)
    _slo(book, case)
    if case.history_note:
        book.text(case.history_note, size=8, colour=MUTED)
    book.space(0.1)
    titles = [Column("", 1.6), Column("", book.width_in - 1.6)]
    book.table(titles, list(case.facts.items()))
    book.figures(case.case, figures_of(case))
    for log in case.logs:
        if log.cause:
            book.space(0.1)
            book.text(f"{log.name} of the role that failed", bold=True)
            lines = [*log.errors, *(("...",) if log.errors else ()), *log.tail]
            book.text("\n".join(lines[-MAX_LOG_LINES:]), size=7, mono=True)


def _slo(book: Book, case: CaseReport) -> None:
    if not case.slo:
        return
    book.space(0.1)
    widths = (2.6, 0.9, 0.9, 0.9, 0.9)
    columns = [
        Column(title, width, right=2 <= position <= 4)
        for position, (title, width) in enumerate(zip(SLO_TITLES[1:], widths, strict=False))
    ]
    columns += [Column("", 0.15), Column(SLO_TITLES[-1], book.width_in - sum(widths) - 0.15)]
    rows = []
    for answer in case.slo:
        limits, *cells, breaks = slo_cells(answer)
        server = f"{answer.curve.server}: " if len(case.slo) > 1 else ""
        rows.append([f"{server}{limits}", *cells, "", breaks])
    book.table(columns, rows)
    for answer in case.slo:
        for note in answer.notes:
            book.text(f"- {note}", size=8)


def _comparison(book: Book, comparison: Comparison) -> None:
    book.new_page()
    book.text("Comparison", size=13, bold=True)
    for number, each in enumerate(comparison.sets, start=1):
        book.text(f"{number}. {each.title}" + (" (compared with)" if number == 1 else ""))
    for note in comparison.notes:
        book.text(f"- {note}", size=8)
    book.space(0.1)
    book.table(
        [Column("short name", 1.6), Column("test", book.width_in - 1.6)],
        [[short_name, test] for short_name, test in comparison.tests.items()],
    )
    names = {test: short_name for short_name, test in comparison.tests.items()}
    columns = [Column("metric", 3.2), Column("test", 1.5)]
    for position in range(len(comparison.sets)):
        columns.append(Column(f"set {position + 1}", 1.0, right=True))
        if position:
            columns.append(Column("better by", 0.85, right=True))
    rows = []
    for row in comparison.rows:
        cells = [title_of(row.metric), names[row.test]]
        for position, value in enumerate(row.values):
            cells.append("" if value is None else short(value))
            if position:
                effect = row.effect_percent(position)
                cells.append("" if effect is None else percent(effect))
        rows.append(cells)
    book.table(columns, rows)
    book.figures("Comparison", comparison_figures(comparison))


def _number(load: Load, metric: str) -> str:
    if metric not in load.metrics:
        return ""
    return short(load.metrics[metric]) + ("*" if metric in load.low_n else "")


def _colour(word: str, bad: bool) -> str:
    return RED if bad else _COLOURS.get(word, INK)
