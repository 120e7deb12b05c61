"""The highest concurrency that keeps an SLO, read off measured points. Pure functions.

An SLO is a limit in ms for each of some of ``ttft``, ``tpot`` and ``e2el``. A point keeps it where the chosen statistic
(``p99`` by default) of every one of them is at most its limit. Nothing is interpolated between points. A percentile
with too few samples (``s_low_n``) is no evidence: neither that a limit is kept nor that it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pytest_disagg.errors import UsageError
from pytest_disagg.records.metrics import METRICS, measured_on_device
from pytest_disagg.records.record import Value
from pytest_disagg.records.summary import SLO_NAMES
from pytest_disagg.verdict.latest import Curve, Latest, newest

STATISTICS = ("median", "mean", "p75", "p90", "p95", "p99")
DEFAULT_STATISTIC = "p99"
"""What an SLO is commonly stated for, and the strictest that is measured."""
UNUSABLE = "invalid, a rehearsal, profiled or in quarantine"


@dataclass(frozen=True)
class Breach:
    """A limit that a point does not keep; values in ms."""

    metric: str
    value: float
    limit: float

    def __str__(self) -> str:
        return f"{METRICS[self.metric].label.removesuffix(' (ms)')} {self.value:.4g} ms over {self.limit:g} ms"


@dataclass(frozen=True)
class Checked:
    """A point against an SLO. ``breaches``, the worst first; ``unknown`` says of which limits nothing is known, and
    why."""

    label: str
    concurrency: int
    run_id: str
    created_ms: int
    metrics: Mapping[str, float]
    breaches: tuple[Breach, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def kept(self) -> bool:
        return not self.breaches and not self.unknown


@dataclass(frozen=True)
class Answer:
    """What is known of a curve. ``best`` is the point of the highest concurrency that keeps the SLO, ``first`` the
    lowest above it that breaks it (of all, where none keeps it), ``below`` are those below ``best`` that break it.

    ``notes`` says what else a reader must know. ``points`` are all that were looked at, by concurrency.
    """

    curve: Curve
    slo: Mapping[str, float]
    statistic: str
    points: tuple[Checked, ...] = ()
    best: Checked | None = None
    first: Checked | None = None
    below: tuple[Checked, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def title(self) -> str:
        """What tells this curve from the others of a table."""
        curve = self.curve
        parts = (curve.case, curve.server, curve.gpu, curve.cluster, curve.node_group, curve.tool)
        return " ".join(filter(None, parts))

    @property
    def limits(self) -> str:
        """``p99 TTFT <= 500 ms, p99 TPOT <= 40 ms``."""
        return ", ".join(f"{self.statistic} {name.upper()} <= {limit:g} ms" for name, limit in self.slo.items())

    @property
    def breaks(self) -> str:
        """Which point breaks the SLO first, and by what."""
        if self.first is None:
            return ""
        return f"{self.first.label}: {self.first.breaches[0]}"

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        points = [_plain(point) for point in self.points]
        return {
            **self.curve._asdict(),
            "slo_ms": dict(self.slo),
            "statistic": self.statistic,
            "best": _plain(self.best) if self.best else None,
            "breaks_first": _plain(self.first) if self.first else None,
            "breaks_below": [point.label for point in self.below],
            "notes": list(self.notes),
            "points": points,
        }


def parse_slo(text: str) -> dict[str, float]:
    """``ttft=500,tpot=40``: limits in ms by name, in the order of SLO_NAMES.

    Raises:
        UsageError: not of that form.
    """
    found: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = part.partition("=")
        name = name.strip().lower().removesuffix("_ms")
        try:
            limit = float(value.strip().removesuffix("ms"))
        except ValueError:
            limit = -1.0
        if name not in SLO_NAMES or name in found or not 0 < limit < float("inf"):
            expected = f"NAME=MS,... with {', '.join(SLO_NAMES)}, each once, and limits above 0: ttft=500,tpot=40"
            raise UsageError(f"--slo: found {part!r}, expected {expected}")
        found[name] = limit
    if not found:
        raise UsageError(f"--slo: found {text!r}, expected limits: ttft=500,tpot=40")
    return {name: found[name] for name in SLO_NAMES if name in found}


def slo_of(record: Mapping[str, Value]) -> dict[str, float]:
    """The case's own ``slo`` block, as its record has it; empty where it has none."""
    found = {name: record.get(f"d_slo_{name}_ms") for name in SLO_NAMES}
    return {name: float(limit) for name, limit in found.items() if isinstance(limit, (int, float))}


def answers(
    records: Sequence[Mapping[str, Value]], slo: Mapping[str, float] | None, statistic: str = DEFAULT_STATISTIC
) -> list[Answer]:
    """One answer for each curve that these records have, also for one without a point that can be used.

    ``slo`` None: every case's own. A case that has none gets an answer without limits, which says so.

    Raises:
        UsageError: a statistic that is not measured.
    """
    if statistic not in STATISTICS:
        raise UsageError(f"--percentile: found {statistic!r}, expected one of {', '.join(STATISTICS)}")
    named: dict[Curve, list[Latest]] = {}
    for each in newest(records):
        named.setdefault(each.curve, []).append(each)
    measured: dict[Curve, list[Latest]] = {}
    for each in newest(records, measured=True):
        measured.setdefault(each.curve, []).append(each)
    return [_answer(curve, found, measured.get(curve, []), slo, statistic) for curve, found in named.items()]


def _answer(
    curve: Curve, named: Sequence[Latest], measured: Sequence[Latest], slo: Mapping[str, float] | None, statistic: str
) -> Answer:
    newest_of_all = max(measured or named, key=lambda each: each.created_ms)
    limits = dict(slo) if slo is not None else slo_of(newest_of_all.point.first)
    if not limits:
        return Answer(curve, {}, statistic, notes=("the case has no slo block; state limits: --slo ttft=500,tpot=40",))
    mode = str(newest_of_all.point.first.get("s_benchmark_mode", "e2e"))
    if measured_on_device(mode):  # type: ignore[arg-type]
        text = f"{mode} cases have no SLO: what their client sees contains the wait for the fill gate"
        return Answer(curve, limits, statistic, notes=(text,))
    points = tuple(_checked(each, limits, statistic) for each in measured)
    best = max((each for each in _whole(points)), key=lambda each: each.concurrency, default=None)
    broken = [each for each in points if each.breaches]
    above = [each for each in broken if best is None or each.concurrency > best.concurrency]
    return Answer(
        curve,
        limits,
        statistic,
        points,
        best,
        min(above, key=lambda each: each.concurrency, default=None),
        tuple(each for each in broken if each not in above),
        tuple(_notes(named, measured, points, best)),
    )


def _whole(points: Sequence[Checked]) -> list[Checked]:
    """Those that keep the SLO, of concurrencies none of whose points does not."""
    bad = {each.concurrency for each in points if not each.kept}
    return [each for each in points if each.concurrency not in bad]


def _checked(latest: Latest, slo: Mapping[str, float], statistic: str) -> Checked:
    point = latest.point
    breaches, unknown = [], []
    for name, limit in slo.items():
        metric = f"{statistic}_{name}"
        value = point.value(metric)
        if value is None:
            unknown.append(f"{metric} was not measured")
        elif metric in point.low_n:
            unknown.append(f"{metric} has too few samples")
        elif value > limit:
            breaches.append(Breach(metric, value, limit))
    shown = (
        *(f"{statistic}_{name}" for name in SLO_NAMES),
        *("token_throughput", "output_token_throughput_per_gpu", "output_token_throughput_per_user"),
        *("goodput", "goodput_ratio"),
    )
    values = {name: value for name in shown if (value := point.value(name)) is not None}
    breaches.sort(key=lambda each: each.value / each.limit, reverse=True)
    return Checked(
        point.label, point.concurrency, latest.run_id, latest.created_ms, values, tuple(breaches), tuple(unknown)
    )


def _notes(
    named: Sequence[Latest], measured: Sequence[Latest], points: Sequence[Checked], best: Checked | None
) -> Iterable[str]:
    if not measured:
        yield f"no measurement of it can be used: {UNUSABLE}"
        return
    below = [each for each in points if best and each.breaches and each.concurrency <= best.concurrency]
    if below:
        broken = "; ".join(f"{each.label}: {each.breaches[0]}" for each in below)
        yield f"the curve is not monotonic: a lower concurrency breaks the SLO ({broken})"
    if best is None:
        yield "no measured point keeps the SLO"
    elif not any(each.breaches and each.concurrency > best.concurrency for each in points):
        yield "no measured point above it breaks the SLO, so the limit may be higher"
    reasons: dict[str, list[str]] = {}
    for each in points:
        if each.unknown and not each.breaches:
            reasons.setdefault(", ".join(each.unknown), []).append(each.label)
    for reason, labels in reasons.items():
        yield f"no evidence from {', '.join(labels)}: {reason}"
    used = {each.point.label for each in measured}
    for latest in measured:
        if latest.passed_over:
            yield f"{latest.point.label} is of run {latest.run_id}: the newer {latest.passed_over} cannot be used"
    never = [each.point.label for each in named if each.point.label not in used]
    if never:
        yield f"no measurement of {', '.join(never)} can be used: {UNUSABLE}"
    runs = {latest.run_id for latest in measured}
    if len(runs) > 1:
        yield f"the points are of {len(runs)} runs"


def _plain(point: Checked) -> dict[str, Any]:
    return {**asdict(point), "breaches": [asdict(each) for each in point.breaches], "kept": point.kept}
