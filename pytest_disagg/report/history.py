"""The history of a case's gating metrics, for its figures. What decides is the verdict's business; this shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from pytest_disagg.errors import UsageError
from pytest_disagg.records.points import RecordPoint, group
from pytest_disagg.report.model import CaseReport, HistoryPlot, Level, Load, Past
from pytest_disagg.verdict.changepoints import Rule, bounds, changepoints
from pytest_disagg.verdict.history import History, HistoryError, Night, SeriesKey, created_ms, nights
from pytest_disagg.verdict.night import judge_night
from pytest_disagg.verdict.policy import MetricRule, Policy, policy_of
from pytest_disagg.verdict.reference import state_of


def with_history(case: CaseReport, history: History) -> CaseReport:
    """``case`` with a plot for each point and gating metric that has earlier values, or a note on why there is none."""
    if any(record.get("b_rehearsal") is True for record in case.records):
        return replace(case, history_note="A rehearsal has no history.")
    plots: list[HistoryPlot] = []
    loads = {load.label: load for load in case.loads}
    try:
        for point in group(case.records):
            plots += _plots(point, loads.get(point.label), history)
    except (HistoryError, UsageError) as error:
        return replace(case, history_note=f"The history could not be read: {error}")
    missing = case.records and not plots
    note = "No history: no earlier run of this case on this engine, cluster and GPU is known." if missing else ""
    return replace(case, history=tuple(plots), history_note=note)


def _plots(point: RecordPoint, load: Load | None, history: History) -> list[HistoryPlot]:
    first = point.first
    policy = policy_of(None, first)
    earlier = [
        record
        for record in history.series(SeriesKey.of(first))
        if record.get("s_run_id") != first.get("s_run_id") and created_ms(record) <= created_ms(first)
    ]
    rules = [rule for rule in policy.rules(first) if rule.role == "gate"]
    plots = [_plot(point, load, rule, earlier, policy) for rule in rules]
    return [plot for plot in plots if plot is not None]


def _plot(
    point: RecordPoint, load: Load | None, rule: MetricRule, earlier: Sequence[Mapping[str, Any]], policy: Policy
) -> HistoryPlot | None:
    value = point.value(rule.name)
    before = nights(earlier, rule.name, policy.branch)
    if value is None or not before:
        return None
    first, word = point.first, load.word if load else ""
    new = Past(created_ms(first), value, _text(first, "s_run_id"), _text(first, "s_commit"), word)
    values = [night.value for night in before]
    return HistoryPlot(
        load=point.label,
        metric=rule.name,
        points=(*(_past(night) for night in before), new),
        levels=_levels(values, rule),
        band=_band(values, point, rule),
        baseline=load.references.get(rule.name) if load else None,
    )


def _levels(values: Sequence[float], rule: MetricRule) -> tuple[Level, ...]:
    points = changepoints(values, Rule(min_effect=rule.min_effect))
    return tuple(Level(begin, end - 1, median(values[begin:end])) for begin, end in bounds(points, len(values)))


def _band(values: Sequence[float], point: RecordPoint, rule: MetricRule) -> tuple[float | None, float | None] | None:
    """Between which values as many measurements as there are would pass; None where the history is too short to say."""
    state = state_of(values, sign=rule.sign, min_effect=rule.min_effect, tonight=False)
    if state.reference is None:
        return None
    measured = [float(value) for record in point.records if isinstance(value := record.get(rule.metric.field), float)]
    night = judge_night(state.reference, measured, sign=rule.sign, min_effect=rule.min_effect, remeasure=0)
    limit = state.reference.center * (1 - rule.sign * night.limit)
    return (limit, None) if rule.sign > 0 else (None, limit)


def _past(night: Night) -> Past:
    return Past(night.time_ms, night.value, night.run_id, night.commit, _text(night.record, "s_verdict"))


def _text(record: Mapping[str, Any], name: str) -> str:
    return str(record.get(name, ""))
