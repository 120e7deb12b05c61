"""What a report shows, as plain data: read from run directories, drawn by whoever likes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pytest_disagg.records.gpu_hours import GpuHours, total
from pytest_disagg.rundir.outcome import shown
from pytest_disagg.verdict.slo import Answer
from pytest_disagg.verdict.types import RED, WORDS

FAILED = "failed"
SHOWN_LATENCIES = ("ttft", "tpot", "e2el")


@dataclass(frozen=True)
class Load:
    """One measured point of a case. ``metrics`` are medians over its repeats, named as in a record without ``d_``.

    ``references`` maps a metric to the value it was judged against. ``latencies`` maps ``ttft``, ``tpot`` and
    ``e2el`` to ms, one for each request that has it, all repeats together.
    """

    label: str
    word: str
    metrics: Mapping[str, float]
    server: str = ""
    concurrency: int | None = None
    repeats: int = 1
    info: str = ""
    low_n: frozenset[str] = frozenset()
    references: Mapping[str, float] = field(default_factory=dict)
    latencies: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Ruling:
    """What was decided about a metric of a point (of the point as a whole, where ``metric`` is empty).

    ``interval_percent`` is the 95 % interval of ``effect_percent``, which is positive when better.
    """

    load: str
    word: str
    metric: str = ""
    value: float | None = None
    reference: float | None = None
    effect_percent: float | None = None
    interval_percent: tuple[float, float] | None = None
    method: str = ""
    evidence: str = ""
    facts: tuple[str, ...] = ()
    gates: bool = True

    @property
    def red(self) -> bool:
        return self.gates and self.word in RED


@dataclass(frozen=True)
class Span:
    """A stage of a role. Times are epoch seconds by the clock of the role's node."""

    stage: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class RoleReport:
    """A role as it last described itself. ``failure`` is its headline, ``because_of`` the role it blames."""

    role: str
    node: str = ""
    state: str = ""
    failure: str = ""
    because_of: str = ""
    ended: str = ""
    spans: tuple[Span, ...] = ()

    @property
    def cause(self) -> bool:
        """Whether it failed and blames nobody for it."""
        return bool(self.failure) and not self.because_of


@dataclass(frozen=True)
class LogExcerpt:
    """Lines of a log that a person should see. ``errors`` are those that name an error and stand above ``tail``;
    ``cause``: its role caused the failure of the run."""

    role: str
    name: str
    cause: bool
    errors: tuple[str, ...]
    tail: tuple[str, ...]


@dataclass(frozen=True)
class Past:
    """One earlier value of a metric, or the new one."""

    when_ms: int
    value: float
    run_id: str = ""
    commit: str = ""
    word: str = ""


@dataclass(frozen=True)
class Level:
    """A stable segment of a history: indexes of its first and last point, and its median."""

    first: int
    last: int
    value: float


@dataclass(frozen=True)
class HistoryPlot:
    """A metric of a point over time, oldest first; the last of ``points`` is the new one.

    ``band`` are the limits between which a value passes, None on a side that is open.
    """

    load: str
    metric: str
    points: tuple[Past, ...]
    levels: tuple[Level, ...] = ()
    band: tuple[float | None, float | None] | None = None
    baseline: float | None = None


@dataclass(frozen=True)
class Panel:
    """One quantity over time: line -> (epoch seconds, value)."""

    title: str
    unit: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class Measured:
    """When a load was measured, in epoch seconds."""

    label: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class TelemetryPlot:
    """What was sampled during a run."""

    panels: tuple[Panel, ...]
    measured: tuple[Measured, ...] = ()


@dataclass(frozen=True)
class CaseReport:
    """One run of one case. ``kind`` is empty where nothing is wrong. ``red`` lines say why it is red, decisive first.

    ``problems`` are files of the run that could not be read. ``facts`` is what identifies the run, title and text;
    ``documents`` are whole files for people (manifest, plan). ``quarantine`` says who put the case or a node of it in
    quarantine, until when and why; ``excused``: what is red about it does not fail. ``slo`` are the answers to the
    case's own SLO, one for each server.
    """

    case: str
    run_id: str
    verdict: str
    kind: str = ""
    folder: str = ""
    started_s: float | None = None
    red: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    loads: tuple[Load, ...] = ()
    rulings: tuple[Ruling, ...] = ()
    roles: tuple[RoleReport, ...] = ()
    logs: tuple[LogExcerpt, ...] = ()
    stage_times: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    documents: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[HistoryPlot, ...] = ()
    history_note: str = ""
    records: tuple[Mapping[str, Any], ...] = ()
    gpu_hours: GpuHours | None = None
    quarantine: str = ""
    slo: tuple[Answer, ...] = ()
    telemetry: TelemetryPlot | None = None
    excused: bool = False

    @property
    def pardoned(self) -> bool:
        """Red, and no failure of the report, because the case is in quarantine."""
        return self.excused and self._red

    @property
    def bad(self) -> bool:
        return self._red and not self.excused

    @property
    def _red(self) -> bool:
        return bool(self.kind) or self.verdict == FAILED or self.verdict in RED

    @property
    def shown_verdict(self) -> str:
        """The verdict with the kind of failure, and with the quarantine it stands in."""
        word = f"{self.verdict} ({self.kind})" if self.kind and self.kind != self.verdict else self.verdict
        return shown(word, self.quarantine)

    @property
    def headline(self) -> str:
        """Why it is red; empty where it is not."""
        return self.red[0].partition("\n")[0] if self.red else ""


@dataclass(frozen=True)
class Report:
    """One run of pytest, or the runs that somebody asked for. ``created`` is local time, ready to be shown."""

    title: str
    created: str
    cases: tuple[CaseReport, ...]
    notes: tuple[str, ...] = ()

    @cached_property
    def verdict(self) -> str:
        """The worst of the cases' verdicts; a run that failed is worse than any that was judged.

        What is red in quarantine does not count.
        """
        order = (*(word for word in WORDS if word not in RED), "rehearsal", *(word for word in WORDS if word in RED))
        words = [case.verdict for case in self.cases if not case.pardoned]
        otherwise = "quarantined" if self.cases else "nothing ran"
        return max(words, key=lambda word: order.index(word) if word in order else len(order), default=otherwise)

    @property
    def bad(self) -> bool:
        return any(case.bad for case in self.cases)

    @property
    def gpu_hours(self) -> GpuHours | None:
        """Those of all cases together."""
        return total(case.gpu_hours for case in self.cases)

    @property
    def quarantined(self) -> tuple[CaseReport, ...]:
        """The cases in quarantine."""
        return tuple(case for case in self.cases if case.quarantine)

    @property
    def summary(self) -> str:
        """``3 cases: 1 regression, 2 pass``."""
        counts: dict[str, int] = {}
        for case in self.cases:
            word = f"{case.verdict} ({case.kind})" if case.kind and case.kind != case.verdict else case.verdict
            word += " in quarantine" if case.pardoned else ""
            counts[word] = counts.get(word, 0) + 1
        listed = ", ".join(f"{count} {word}" for word, count in counts.items())
        return f"{len(self.cases)} case{'' if len(self.cases) == 1 else 's'}: {listed}" if listed else "no cases"
