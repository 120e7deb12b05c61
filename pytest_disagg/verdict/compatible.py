"""TensorRT-LLM's own rule, number for number, for teams that run both side by side.

As its perf_regression_utils.py: the baseline is the ``d_baseline_*`` of the newest post-merge document, else P95
(larger is better) or P5 of the trailing mean of three days; a fixed threshold; a change is exempt where the newest
post-merge record misses the same gate. That its TPOT counts as better when larger is reproduced, too: TPOT gates
nothing there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone, tzinfo
from statistics import fmean

from pytest_disagg.records.metrics import DEVICE_STEP, METRICS, Metric
from pytest_disagg.records.points import RecordPoint
from pytest_disagg.records.record import Value
from pytest_disagg.verdict.history import created_ms
from pytest_disagg.verdict.types import Verdict

METHOD = "compatible"
POST_MERGE, PRE_MERGE = "post_merge", "pre_merge"
DEFAULT_THRESHOLDS: Mapping[str, float] = {POST_MERGE: 0.05, PRE_MERGE: 0.10}
DAYS_BACK = 90
WINDOW_DAYS = 3
QUANTILE = 0.95
MATCH_KEYS = ("s_test_case_name", "s_gpu_type", "s_runtime", "s_branch")
EXEMPT = "Not failing this stage: the latest post-merge record of this case misses the same gate itself"
_METRICS = (
    "seq_throughput",
    "token_throughput",
    "total_token_throughput",
    "user_throughput",
    *(f"{part}_{name}" for name in ("ttft", "itl", "tpot", "e2el") for part in ("mean", "median", "p99")),
    "al",
    *(f"{part}_{DEVICE_STEP}" for part in ("mean", "median", "std", "p75", "p99")),
)
_LARGER = frozenset({"mean_tpot", "median_tpot", "p99_tpot"})
_GATES = ("token_throughput", "total_token_throughput")
_STEP_GATES = (f"mean_{DEVICE_STEP}", f"median_{DEVICE_STEP}")


@dataclass(frozen=True)
class Line:
    """One metric against its baseline. ``diff`` is relative and positive when better."""

    metric: Metric
    value: float
    baseline: float
    threshold: float
    gates: bool

    @property
    def diff(self) -> float:
        gain = (self.value - self.baseline) / self.baseline
        return gain if _larger(self.metric) else -gain

    @property
    def regressed(self) -> bool:
        """Strictly beyond the limit: exactly at it is none."""
        if _larger(self.metric):
            return self.value < self.baseline * (1 - self.threshold)
        return self.value > self.baseline * (1 + self.threshold)

    def text(self) -> str:
        return (
            f"  {self.metric.name}: value={self.value:.2f} baseline={self.baseline:.2f} "
            f"threshold={100 * self.threshold:.2f}% diff={100 * self.diff:+.2f}%"
        )


def _larger(metric: Metric) -> bool:
    return metric.direction == "larger" or metric.name in _LARGER


def gates_of(record: Mapping[str, Value]) -> tuple[str, ...]:
    """The metrics that the rule gates on."""
    if str(record.get("s_benchmark_mode", "")).startswith("gen_only"):
        return _STEP_GATES
    return (*_GATES, "al") if record.get("b_eos") is True else _GATES


def matching(
    record: Mapping[str, Value],
    history: Sequence[Mapping[str, Value]],
    *,
    branch: str,
    now: datetime | None = None,
) -> list[Mapping[str, Value]]:
    """The history documents that the rule compares ``record`` with, oldest first.

    Valid post-merge documents of the last 90 days (from midnight UTC) that agree in the match keys, where an empty text
    and none are the same; ``branch`` stands for the record's own.
    """
    moment = now or datetime.fromtimestamp(created_ms(record) / 1000, timezone.utc)
    begin = (moment.astimezone(timezone.utc) - timedelta(days=DAYS_BACK)).replace(
        hour=0, minute=0, second=0, microsecond=0
    )
    wanted = {key: str(record.get(key) or "") for key in MATCH_KEYS} | {"s_branch": branch}
    found = [
        each
        for each in history
        if each.get("b_is_valid") is True
        and each.get("b_is_post_merge") is True
        and each.get("b_is_baseline") is not True
        and each.get("b_quarantined") is not True
        and created_ms(each) >= begin.timestamp() * 1000
        and all(str(each.get(key) or "") == value for key, value in wanted.items())
    ]
    return sorted(found, key=created_ms)


def lines(
    record: Mapping[str, Value],
    history: Sequence[Mapping[str, Value]],
    *,
    post_merge: bool,
    zone: tzinfo | None = None,
) -> list[Line]:
    """Every metric of ``record`` that has a baseline in ``history`` (:func:`matching`). ``zone`` makes days, default
    the local one."""
    gates = gates_of(record)
    kind = POST_MERGE if post_merge else PRE_MERGE
    found = []
    for name in _METRICS:
        metric, value = METRICS[name], record.get(f"d_{name}")
        baseline, source = baseline_of(metric, history, zone=zone)
        if not isinstance(value, (int, float)) or baseline is None:
            continue
        own = source.get(f"d_threshold_{kind}_{name}") if source is not None else None
        threshold = float(own) if isinstance(own, (int, float)) and own > 0 else DEFAULT_THRESHOLDS[kind]
        found.append(Line(metric, float(value), baseline, threshold, name in gates))
    return found


def baseline_of(
    metric: Metric, history: Sequence[Mapping[str, Value]], *, zone: tzinfo | None = None
) -> tuple[float | None, Mapping[str, Value] | None]:
    """The baseline, and the document that states it (None where it was computed)."""
    stated = [each for each in history if any(key.startswith("d_baseline_") for key in each)]
    if stated:
        newest = max(stated, key=created_ms)
        value = newest.get(f"d_baseline_{metric.name}")
        if isinstance(value, (int, float)) and value > 0:
            return float(value), newest
    values = rolling_means(history, metric.field, zone=zone)
    if not values:
        return None, None
    found = quantile(values, QUANTILE if _larger(metric) else 1 - QUANTILE)
    return (found if found > 0 else None), None


def rolling_means(history: Sequence[Mapping[str, Value]], field: str, *, zone: tzinfo | None = None) -> list[float]:
    """The trailing mean over up to three days of each day's mean. Documents without a time are skipped."""
    days: dict[str, list[float]] = {}
    for each in sorted(history, key=created_ms):
        value = each.get(field)
        if isinstance(value, (int, float)) and created_ms(each) > 0:
            day = datetime.fromtimestamp(created_ms(each) / 1000, zone).strftime("%Y-%m-%d")
            days.setdefault(day, []).append(float(value))
    means = [fmean(days[day]) for day in sorted(days)]
    return [fmean(means[max(0, index - WINDOW_DAYS + 1) : index + 1]) for index in range(len(means))]


def quantile(values: Sequence[float], share: float) -> float:
    """Linear interpolation between the closest ranks."""
    ordered = sorted(values)
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def info(record: Mapping[str, Value], found: Sequence[Line]) -> str:
    """``s_regression_info``: all metrics, whether or not one regressed; empty without history."""
    if not found:
        return ""
    return "\n".join([f"Regression in {record.get('s_test_case_name', '')}:", *(line.text() for line in found)])


def exempt(history: Sequence[Mapping[str, Value]], *, zone: tzinfo | None = None) -> bool:
    """Whether the newest post-merge record itself misses the gate at the threshold before a merge."""
    if not history:
        return False
    newest = max(history, key=created_ms)
    return any(line.gates and line.regressed for line in lines(newest, history, post_merge=False, zone=zone))


def fields_of(verdicts: Sequence[Verdict], record: Mapping[str, Value]) -> dict[str, Value]:
    """What the rule writes into a record: its text, whether it regressed and, after a merge, the baselines, so that the
    next run need not compute them. ``verdicts`` are those of :func:`judge` on its point."""
    missed = any(each.gates and each.word in ("suspect", "regression") for each in verdicts)
    fields: dict[str, Value] = {"b_is_regression": missed, "s_regression_info": "\n".join(verdicts[0].facts)}
    if record.get("b_is_post_merge") is True:
        for each in verdicts:
            fields[f"d_baseline_{each.metric}"] = each.reference or 0.0
            for kind, threshold in DEFAULT_THRESHOLDS.items():
                fields[f"d_threshold_{kind}_{each.metric}"] = threshold
    return fields


def judge(
    point: RecordPoint,
    history: Sequence[Mapping[str, Value]],
    *,
    branch: str,
    zone: tzinfo | None = None,
) -> list[Verdict]:
    """The rule's verdicts on a valid point (its last repeat): after a merge a regression is only reported."""
    record = point.records[-1]
    post_merge = record.get("b_is_post_merge") is True
    earlier = [each for each in history if each.get("s_run_id") != record.get("s_run_id") or not each.get("s_run_id")]
    matched = matching(record, earlier, branch=branch)
    found = lines(record, matched, post_merge=post_merge, zone=zone)
    common = Verdict("pass", method=METHOD, case=point.case, point=point.label)
    if not found:
        text = f"no post-merge record of {branch or 'its branch'} in the last {DAYS_BACK} days has a baseline for it"
        return [replace(common, word="insufficient-history", evidence=text)]
    free = not post_merge and exempt(matched, zone=zone)
    said = info(record, found)
    return [_verdict(common, line, said, post_merge, free) for line in found]


def _verdict(common: Verdict, line: Line, said: str, post_merge: bool, free: bool) -> Verdict:
    evidence = line.text().strip()
    word = common.word
    if line.regressed and line.gates:
        word = "suspect" if post_merge or free else "regression"
        evidence += "; after a merge this is reported, not red" if post_merge else f"; {EXEMPT}" if free else ""
    return replace(
        common,
        word=word,
        metric=line.metric.name,
        value=line.value,
        reference=line.baseline,
        effect_percent=100 * line.diff,
        threshold=line.threshold * line.baseline,
        evidence=evidence,
        gates=line.gates,
        facts=tuple(said.splitlines()),
    )
