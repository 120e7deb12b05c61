"""Records against a baseline CSV: a regression is red, an improvement is said, nothing is passed over in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.records.metrics import METRICS
from pytest_disagg.records.points import RecordPoint, case_of, group
from pytest_disagg.records.record import Value
from pytest_disagg.verdict.baseline import Baseline, Row
from pytest_disagg.verdict.types import Verdict, Word, worst

METHOD = "baseline-csv"
DEFAULT_THRESHOLD = 0.10
"""Ratio by which a value of the wide form may be worse."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Judged:
    """``verdicts``: one per metric that a row names, or one per point that could not be judged. ``notes``: what else a
    person has to know (rows without a result, rows that mean several points, metrics nobody knows)."""

    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]

    @property
    def word(self) -> Word:
        return worst(self.verdicts)


def judge(
    baseline: Baseline | None,
    records: Sequence[Mapping[str, Value]],
    *,
    threshold: float = DEFAULT_THRESHOLD,
    whole_file: bool = False,
) -> Judged:
    """Compare ``records`` with the rows of ``baseline`` (None: there is none, so nothing has a reference).

    Of repeats of a point the median is judged. ``threshold`` is the ratio of the wide form. ``whole_file`` reports
    rows of cases that are not among the records, too. Records of rehearsals are never judged.

    Raises:
        ConfigError: two rows give the same metric of the same point a reference.
    """
    played = [record for record in records if record.get("b_rehearsal") is not True]
    notes = [f"{len(records) - len(played)} records of rehearsals are not judged"] if len(played) < len(records) else []
    nameless = sum(not case_of(record) for record in played)
    notes += [f"{nameless} records name no case (s_case_id) and are not judged"] if nameless else []
    points = group(played)
    if baseline is None:
        return Judged(tuple(_alone(point, "there is no baseline file") for point in points), tuple(notes))
    table, unmatched = _assign(baseline, points, whole_file)
    notes += unmatched
    verdicts: list[Verdict] = []
    for position, point in enumerate(points):
        judged = []
        for metric, row in table.get(position, {}).items() if point.valid else ():
            verdict = _compare(baseline, row, metric, point, threshold)
            if verdict is None:
                notes.append(f"{baseline.where(row)}: no result: {point.case}/{point.label} has no {metric}")
            else:
                judged.append(verdict)
        verdicts += judged or [_alone(point, f"no row of {baseline.path} has a reference for it")]
    return Judged(tuple(verdicts), tuple(notes))


def _alone(point: RecordPoint, evidence: str) -> Verdict:
    if not point.valid:
        reasons = dict.fromkeys(str(record.get("s_invalid_reason", "")) for record in point.records)
        evidence = "; ".join(filter(None, reasons)) or "the measurement did not pass the gate"
        return Verdict("invalid", method=METHOD, evidence=evidence, case=point.case, point=point.label)
    return Verdict("insufficient-history", method=METHOD, evidence=evidence, case=point.case, point=point.label)


def _assign(
    baseline: Baseline, points: Sequence[RecordPoint], whole_file: bool
) -> tuple[dict[int, dict[str, Row]], list[str]]:
    """Point (by position) -> metric -> row; and notes on rows that mean no point, or more than one."""
    table: dict[int, dict[str, Row]] = {}
    notes: list[str] = []
    problems: list[Problem] = []
    cases = {point.case for point in points}
    for row in baseline.rows:
        mentioned = whole_file or any(row.qualifiers(case) is not None for case in cases)
        found = matching(row, points)
        if row.unknown or not found:
            if mentioned:
                notes.append(f"{baseline.where(row)}: {row.unknown or 'no result'}: {row.names[0]}")
            continue
        if len(found) > 1:
            labels = ", ".join(points[position].label for position in found)
            notes.append(f"{baseline.where(row)}: {row.names[0]} means several points ({labels}); name one")
            continue
        position = found[0]
        metric = row.metric_of(points[position])
        if metric is None:
            continue
        before = table.setdefault(position, {}).setdefault(metric, row)
        if before is not row:
            text = f"a second reference for {metric} of {points[position].case}/{points[position].label}"
            problems.append(Problem(baseline.path, row.line, row.names[0], text, f"one only (line {before.line})"))
    if problems:
        raise ConfigError(problems)
    # The two values of a wide row have nothing to say twice.
    return table, list(dict.fromkeys(notes))


def matching(row: Row, points: Sequence[RecordPoint]) -> list[int]:
    """Positions of the points that a row names."""
    found = []
    for position, point in enumerate(points):
        qualifiers = row.qualifiers(point.case)
        if qualifiers is None and point.test_case_name:
            qualifiers = row.qualifiers(point.test_case_name)
        if qualifiers is not None and point.called(qualifiers):
            found.append(position)
    return found


def _compare(baseline: Baseline, row: Row, metric: str, point: RecordPoint, threshold: float) -> Verdict | None:
    value = point.value(metric)
    if value is None:
        return None
    limit = threshold * row.reference if row.limit is None else row.limit
    gain = (value - row.reference) * (1 if row.larger_is_better else -1)
    effect = 100 * gain / row.reference if row.reference else None
    unit = METRICS[metric].unit
    repeats = f", median of {len(point.records)}" if len(point.records) > 1 else ""
    evidence = (
        f"{metric} {value:g} {unit}{repeats} against {row.reference:g} ({baseline.where(row)}), "
        f"{'lower' if row.larger_is_better else 'higher'} by at most {limit:g} passes"
    )
    beyond = abs(gain) > limit * (1 + _ROUNDING)
    word: Word = "pass" if not beyond else "improvement" if gain > 0 else "regression"
    if metric in point.low_n:
        word, evidence = "insufficient-history", f"{evidence}; not judged: too few samples for this percentile"
    return Verdict(word, metric, value, row.reference, effect, limit, METHOD, evidence, point.case, point.label)
