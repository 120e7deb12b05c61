"""Which metrics a report shows, and how it writes a number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_disagg.records.metrics import DEVICE_STEP, METRICS
from pytest_disagg.report.model import CaseReport, Load
from pytest_disagg.verdict.slo import Answer


@dataclass(frozen=True)
class Column:
    """A column of the table of cases."""

    metric: str
    title: str
    unit: str


COLUMNS = (
    Column("token_throughput", "output", "tok/s"),
    Column("output_token_throughput_per_gpu", "per GPU", "tok/s"),
    Column("output_token_throughput_per_user", "per user", "tok/s"),
    Column("median_ttft", "TTFT p50", "ms"),
    Column("p99_ttft", "TTFT p99", "ms"),
    Column("median_tpot", "TPOT p50", "ms"),
    Column("median_e2el", "E2EL p50", "ms"),
    Column(f"median_{DEVICE_STEP}", "step p50", "ms"),
)


SLO_TITLES = ("case", "SLO", "highest", "per GPU (tok/s)", "per user (tok/s)", "goodput (req/s)", "breaks first")
"""Titles of the table of SLOs."""


def slo_name(case: CaseReport, answer: Answer) -> str:
    """The case, and its server where it has several."""
    return "/".join(filter(None, (case.case, answer.curve.server if len(case.slo) > 1 else "")))


def slo_cells(answer: Answer) -> tuple[str, ...]:
    """The cells below :data:`SLO_TITLES`, without the first."""
    best = answer.best
    names = ("output_token_throughput_per_gpu", "output_token_throughput_per_user", "goodput")
    numbers = [short(best.metrics[name]) if best and name in best.metrics else "" for name in names]
    return answer.limits, best.label if best else "none", *numbers, answer.breaks


def short(value: float) -> str:
    """Four digits that matter, thousands apart: ``12 906``, ``179.5``, ``5.433``, ``0.0123``."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}".replace(",", "\u202f")
    if size >= 1:
        return f"{value:.{3 if size < 10 else 2 if size < 100 else 1}f}"
    return f"{value:.3g}"


def columns_of(cases: Iterable[CaseReport]) -> list[Column]:
    """The columns that any case has a value for."""
    measured = {metric for case in cases for load in case.loads for metric in load.metrics}
    return [column for column in COLUMNS if column.metric in measured]


def metrics_of(loads: Sequence[Load]) -> list[str]:
    """Every metric that any of ``loads`` has; known ones first, in the order of records/metrics.py."""
    measured = dict.fromkeys(metric for load in loads for metric in load.metrics)
    order = {name: position for position, name in enumerate(METRICS)}
    return sorted(measured, key=lambda name: (order.get(name, len(order)), name))


def percent(effect: float) -> str:
    """``+2.2 %``; what rounds to nothing has no sign."""
    text = f"{effect:+.1f}"
    return f"{text.lstrip('+-') if float(text) == 0 else text} %"
