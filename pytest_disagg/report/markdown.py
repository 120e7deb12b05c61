"""A report as the text of a merge request's comment: the verdict, what is red, a table."""

from __future__ import annotations

import re

from pytest_disagg.report.compare import Comparison
from pytest_disagg.report.figures.style import title_of
from pytest_disagg.report.model import Report
from pytest_disagg.report.numbers import SLO_TITLES, columns_of, percent, short, slo_cells, slo_name
from pytest_disagg.rundir.outcome import shown
from pytest_disagg.verdict.accuracy import SAID

RED_LINES = 5
"""Reasons of one case that are shown."""


def render(report: Report, comparison: Comparison | None = None) -> str:
    """GitHub's and GitLab's Markdown. Text of a run is escaped: it can neither format nor mention anybody."""
    lines = _title(report) if report.cases else []
    for case in report.cases:
        if case.bad:
            lines += [f"**{plain(case.case)}** (run {plain(case.run_id)})", ""]
            lines += [f"- {plain(line)}" for line in case.red[:RED_LINES] or (case.verdict,)]
            more = len(case.red) - RED_LINES
            lines += [*([f"- ... and {more} more"] if more > 0 else []), ""]
    if report.quarantined:
        for case in report.quarantined:
            headline = f" ({plain(case.headline)})" if case.pardoned and case.headline else ""
            lines.append(f"- {plain(case.case)}: {plain(case.quarantine)}{headline}")
        lines.append("")
    if report.cases:
        columns = columns_of(report.cases)
        lines += _head(["case", "point", "verdict", *(f"{each.title} ({each.unit})" for each in columns)], 3)
        for case in report.cases:
            for load in case.loads:
                numbers = [short(load.metrics[each.metric]) if each.metric in load.metrics else "" for each in columns]
                word = plain(shown(load.word, case.quarantine))
                lines.append(_row([plain(case.case), plain(load.label), word, *numbers]))
            if not case.loads:
                lines.append(
                    _row([plain(case.case), "", plain(shown(case.verdict, case.quarantine)), *("" for _ in columns)])
                )
        lines.append("")
        lines += _slo(report)
        lines += _scores(report)
    if comparison is not None:
        lines += _comparison(comparison)
    return "\n".join(lines)


def _title(report: Report) -> list[str]:
    hours = [f"GPU-hours: {plain(str(report.gpu_hours))}", ""] if report.gpu_hours else []
    return [f"### {plain(report.title)}: {plain(report.verdict)}", "", plain(report.summary), "", *hours]


def _slo(report: Report) -> list[str]:
    rows = [(case, answer) for case in report.cases for answer in case.slo]
    if not rows:
        return []
    lines = [_row(list(SLO_TITLES)), _row([*["---"] * 3, *["---:"] * 3, "---"])]
    for case, answer in rows:
        lines.append(_row([plain(cell) for cell in (slo_name(case, answer), *slo_cells(answer))]))
    notes = [f"- {plain(slo_name(case, answer))}: {plain(note)}" for case, answer in rows for note in answer.notes]
    return [*lines, "", *notes, *([""] if notes else [])]


def _scores(report: Report) -> list[str]:
    """The scores of accuracy tasks beside their limits, as a run says them: no two tasks have the same columns."""
    said = [(case, line.removeprefix(SAID)) for case in report.cases for line in case.lines if line.startswith(SAID)]
    return [*(f"- {plain(case.case)}: accuracy of {plain(line)}" for case, line in said), *([""] if said else [])]


def _comparison(comparison: Comparison) -> list[str]:
    first, *others = (plain(each.title) for each in comparison.sets)
    lines = _head(["metric", "test", first, *(word for title in others for word in (title, "better by"))], 2)
    for row in comparison.rows:
        cells = [plain(title_of(row.metric)), plain(row.test)]
        for position, value in enumerate(row.values):
            cells.append("" if value is None else short(value))
            if position:
                effect = row.effect_percent(position)
                cells.append("" if effect is None else percent(effect))
        lines.append(_row(cells))
    return [*lines, ""]


def plain(text: str) -> str:
    """``text`` as it is, in one line, whatever Markdown would make of it."""
    escaped = re.sub(r"([\\`*_{}\[\]<>#|~$!])", r"\\\1", " ".join(text.split()))
    # A zero-width space keeps hosts from notifying the people and closing the issues that a log seems to name.
    return re.sub(r"([@&])(?=\S)", "\\1\u200b", escaped)


def _head(titles: list[str], texts: int) -> list[str]:
    return [_row(titles), _row(["---" if number < texts else "---:" for number in range(len(titles))])]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
