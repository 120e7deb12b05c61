"""The gate: whether a measurement may be judged at all. Pure: plain facts in, findings out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pytest_disagg.records.metrics import DEVICE_STEP, METRICS

if TYPE_CHECKING:
    from pytest_disagg.config.blocks import Gate

MAX_EXCESS_RATIO = 1.01
"""Output tokens over asked ones above which a server did not do the asked work; a token of rounding is no finding."""
SHOWN_ERRORS = 3
_EPSILON = 1e-9


@dataclass(frozen=True)
class PointFacts:
    """What is known of one load. ``point`` names it in findings (``con8``).

    ``achieved_concurrency`` is the time-weighted mean of requests in flight, None where the tool does not report it.
    Token counts are sums over successful requests. ``usage_reported``: all of them come from the server's ``usage``.
    ``lag_p99_ms`` and ``cpu_ratio`` are the client's own, None where unknown. ``samples`` overrides the number of
    samples behind the percentiles of a family (``itl``), which is else the number of successful requests.
    ``device_step_rows`` are the usable rows per GEN server, None where the case is not measured on them;
    ``device_step_problem`` says why there are none.
    """

    point: str
    concurrency: int
    num_prompts: int
    ok: int
    failed: int
    output_tokens: int
    asked_tokens: int
    achieved_concurrency: float | None = None
    paced: bool = False
    ignore_eos: bool = True
    usage_reported: bool = True
    empty_requests: int = 0
    errors: Sequence[str] = ()
    lag_p99_ms: float | None = None
    cpu_ratio: float | None = None
    device_step_rows: Sequence[int] | None = None
    device_step_problem: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    samples: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """Why not to judge: ``functional`` (requests failed) or ``invalid`` (not to be trusted), with number and limit."""

    kind: Literal["invalid", "functional"]
    text: str


@dataclass(frozen=True)
class GateResult:
    """``ok``: may be judged. ``low_n`` are percentiles with too few samples: quoted, never judged."""

    findings: tuple[Finding, ...] = ()
    low_n: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.findings

    @property
    def kind(self) -> Literal["invalid", "functional"] | None:
        """The kind of the whole: failed requests explain a bad measurement, so ``functional`` wins."""
        kinds = {finding.kind for finding in self.findings}
        return "functional" if "functional" in kinds else "invalid" if kinds else None


def evaluate(facts: PointFacts, gate: Gate) -> GateResult:
    """Judge one point."""
    findings = [
        *_requests(facts, gate),
        *_tokens(facts, gate),
        *_concurrency(facts, gate),
        *_client(facts, gate),
        *_device_steps(facts),
    ]
    return GateResult(tuple(findings), low_n(facts, gate.min_percentile_samples))


def missing_points(requested: Iterable[str], measured: Iterable[str]) -> tuple[Finding, ...]:
    """A finding for each requested point (``con8``) that was never measured."""
    there = set(measured)
    found = ", ".join(sorted(there)) or "none"
    return tuple(
        Finding("invalid", f"{point}: not measured, expected every requested concurrency (measured: {found})")
        for point in dict.fromkeys(requested)
        if point not in there
    )


def combine(results: Iterable[GateResult]) -> GateResult:
    """One result of several points."""
    every = list(results)
    findings = tuple(finding for result in every for finding in result.findings)
    return GateResult(findings, tuple(dict.fromkeys(name for result in every for name in result.low_n)))


def low_n(facts: PointFacts, per_quantile: int) -> tuple[str, ...]:
    """The quoted percentiles that have fewer than ``per_quantile`` / (1 - p) samples: p99 needs 100 x that.

    Device step times count rows, the other families successful requests unless ``facts.samples`` knows better.
    """
    few = []
    for name in facts.metrics:
        quantile = METRICS[name].quantile if name in METRICS else None
        if quantile is None:
            continue
        family = name.partition("_")[2]
        rows = min(facts.device_step_rows or (0,))
        there = rows if family == DEVICE_STEP else facts.samples.get(family, facts.ok)
        if there + _EPSILON < needed_samples(quantile, per_quantile):
            few.append(name)
    return tuple(few)


def needed_samples(quantile: float, per_quantile: int) -> int:
    """Samples that a percentile needs to be judged."""
    return round(per_quantile / (1 - quantile))


def _requests(facts: PointFacts, gate: Gate) -> Iterable[Finding]:
    seen = facts.ok + facts.failed
    if seen < facts.num_prompts:
        yield Finding("invalid", f"{facts.point}: found {seen} requests, expected {facts.num_prompts}")
    if seen == 0:
        return
    ratio = facts.ok / seen
    if ratio + _EPSILON < gate.min_success_ratio or facts.ok == 0:
        yield Finding(
            "functional",
            f"{facts.point}: {facts.failed} of {seen} requests failed (success {_percent(ratio)}, expected at least "
            f"{_percent(gate.min_success_ratio)}){_causes(facts.errors)}",
        )


def _causes(errors: Sequence[str]) -> str:
    """The commonest error texts with their counts, the first line of each."""
    counts = Counter((text.strip().splitlines() or ["unknown error"])[0] for text in errors)
    if not counts:
        return ""
    shown = [f"{count} x {text}" for text, count in counts.most_common(SHOWN_ERRORS)]
    more = len(counts) - len(shown)
    return ": " + "; ".join(shown) + (f"; {more} other errors" if more else "")


def _tokens(facts: PointFacts, gate: Gate) -> Iterable[Finding]:
    if facts.ok == 0:
        return
    if facts.output_tokens <= 0:
        yield Finding("invalid", f"{facts.point}: {facts.ok} requests succeeded with 0 output tokens, expected tokens")
        return
    if facts.empty_requests:
        yield Finding(
            "invalid",
            f"{facts.point}: {facts.empty_requests} of {facts.ok} successful requests have 0 output tokens, expected 0 "
            "such requests",
        )
    if not (facts.ignore_eos and facts.usage_reported) or facts.asked_tokens <= 0:
        return
    ratio = facts.output_tokens / facts.asked_tokens
    text = f"{facts.point}: {facts.output_tokens} output tokens of {facts.asked_tokens} asked ({_percent(ratio)})"
    if ratio + _EPSILON < gate.min_output_ratio:
        yield Finding("invalid", f"{text}, expected at least {_percent(gate.min_output_ratio)}")
    elif ratio > MAX_EXCESS_RATIO:
        yield Finding("invalid", f"{text}, expected at most {_percent(MAX_EXCESS_RATIO)}")


def _concurrency(facts: PointFacts, gate: Gate) -> Iterable[Finding]:
    # A paced load (requests per second) has the concurrency that its rate gives, not the limit's.
    if facts.paced or facts.ok == 0:
        return
    if facts.achieved_concurrency is None:
        yield Finding("invalid", f"{facts.point}: achieved concurrency is unknown, expected {facts.concurrency}")
        return
    limit = gate.min_concurrency_ratio * facts.concurrency
    if facts.achieved_concurrency + _EPSILON < limit:
        yield Finding(
            "invalid",
            f"{facts.point}: achieved concurrency {facts.achieved_concurrency:.2f}, expected at least {limit:g} "
            f"({_percent(gate.min_concurrency_ratio)} of {facts.concurrency})",
        )


def _client(facts: PointFacts, gate: Gate) -> Iterable[Finding]:
    if facts.lag_p99_ms is not None and facts.lag_p99_ms > gate.max_client_lag_ms:
        yield Finding(
            "invalid",
            f"{facts.point}: the client was the bottleneck: event-loop lag p99 {facts.lag_p99_ms:.1f} ms, expected at "
            f"most {gate.max_client_lag_ms:g} ms",
        )
    if facts.cpu_ratio is not None and facts.cpu_ratio > gate.max_client_cpu:
        yield Finding(
            "invalid",
            f"{facts.point}: the client was the bottleneck: {facts.cpu_ratio:.2f} CPU seconds per second, expected at "
            f"most {gate.max_client_cpu:g}",
        )


def _device_steps(facts: PointFacts) -> Iterable[Finding]:
    if facts.device_step_problem:
        yield Finding("invalid", f"{facts.point}: {facts.device_step_problem}")
        return
    rows = facts.device_step_rows
    if rows is None:
        return
    without = [index for index, count in enumerate(rows) if count == 0]
    if not rows or without:
        who = ", ".join(f"GEN_{index}" for index in without) or "any GEN server"
        yield Finding(
            "invalid", f"{facts.point}: found no device step rows of {who}, expected some of every GEN server"
        )


def _percent(ratio: float) -> str:
    return f"{ratio * 100:.6g} %"
