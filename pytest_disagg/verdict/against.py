"""A record against its history: one verdict per metric, each with its evidence. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from pytest_disagg.records.points import RecordPoint, case_of
from pytest_disagg.records.record import Value
from pytest_disagg.verdict.accepted import Acceptance, newest
from pytest_disagg.verdict.history import Night, created_ms, nights
from pytest_disagg.verdict.night import Night as Tonight
from pytest_disagg.verdict.policy import MetricRule, Policy
from pytest_disagg.verdict.reference import MIN_NIGHTS, Reference
from pytest_disagg.verdict.series import CHANGE_POINT, Finding, judge_values, turn
from pytest_disagg.verdict.stats import discoveries
from pytest_disagg.verdict.types import Verdict

METHOD = "history"
FALSE_DISCOVERIES = 0.05
"""Benjamini and Hochberg's q over the gating metrics of one record."""
INTERVAL_TAIL = 0.025


def judge_point(
    point: RecordPoint,
    history: Sequence[Mapping[str, Value]],
    policy: Policy,
    acceptances: Sequence[Acceptance] = (),
    *,
    remeasure: int = 0,
) -> list[Verdict]:
    """Judge every metric of a valid point against the records of its series.

    Records of its own run, and those made after it, are left out. ``remeasure`` is how many more measurements can be
    had.
    """
    own, made = point.first.get("s_run_id"), created_ms(point.first)
    before = [record for record in history if (not own or record.get("s_run_id") != own) and _is_before(record, made)]
    low_n = point.low_n
    verdicts = []
    for rule in policy.rules(point.first):
        values = [
            float(each) for each in (record.get(rule.metric.field) for record in point.records) if each is not None
        ]
        past = nights(before, rule.name, policy.branch)
        verdict = _judge(point, rule, values, past, policy, newest(acceptances, point, rule.name), remeasure)
        if rule.name in low_n:
            why = f"{verdict.evidence}; not judged: too few samples for this percentile"
            verdict = replace(verdict, word="insufficient-history", open=False, evidence=why)
        verdicts.append(verdict)
    return _corrected(verdicts)


def _is_before(record: Mapping[str, Value], made: int) -> bool:
    return not made or created_ms(record) <= made


def _judge(
    point: RecordPoint,
    rule: MetricRule,
    values: Sequence[float],
    past: Sequence[Night],
    policy: Policy,
    acceptance: Acceptance | None,
    remeasure: int,
) -> Verdict:
    start = 0 if acceptance is None else sum(night.time_ms < acceptance.since_ms for night in past)
    found = judge_values(
        [night.value for night in past],
        values,
        sign=rule.sign,
        min_effect=rule.min_effect,
        change=policy.change,
        accepted=start,
        remeasure=remeasure,
    )
    common = Verdict(
        found.word, rule.name, median(values), case=point.case, point=point.label, gates=rule.role == "gate"
    )
    accepted = () if acceptance is None else (acceptance.words(),)
    if found.night is None or found.state.reference is None or found.state.current is None:
        since = f" since {acceptance.words()}" if acceptance else ""
        runs = f"{len(past)} runs of {policy.branch or 'any branch'} in its history"
        evidence = f"{rule.name}: {runs}{since}, expected {MIN_NIGHTS}"
        return replace(common, method=METHOD, evidence=evidence, facts=accepted)
    told = _Told(rule, found.night, found.state.reference, found.state.current, found, past, policy)
    night, against = told.night, told.against
    effect = -night.loss
    margin = against.t(INTERVAL_TAIL) * night.error
    limit = night.limit
    if found.method == CHANGE_POINT:
        limit = told.reference.loss(told.current.center, rule.sign) / 2
    complete = replace(
        common,
        reference=against.center,
        effect_percent=100 * effect,
        interval_percent=(100 * (effect - margin), 100 * (effect + margin)),
        threshold=limit * abs(against.center),
        method=found.method,
        p=found.p,
        open=found.open,
    )
    if found.word == "regression":
        good, bad = turn(found, [each.value for each in past], rule.sign)
        last_good, first_bad = past[good] if good is not None else None, past[bad] if bad < len(past) else None
        complete = replace(
            complete,
            last_good=_run(last_good),
            first_bad=_run(first_bad) or "this run",
            first_bad_ms=first_bad.time_ms if first_bad else created_ms(point.first),
            runs=_runs(last_good.record if last_good else {}, first_bad.record if first_bad else point.first),
        )
    return replace(complete, evidence=told.sentence(complete), facts=(*told.facts(complete, values), *accepted))


@dataclass(frozen=True)
class _Told:
    """What there is to tell of a metric whose series is long enough."""

    rule: MetricRule
    night: Tonight
    reference: Reference
    current: Reference
    found: Finding
    past: Sequence[Night]
    policy: Policy

    @property
    def against(self) -> Reference:
        return self.current if self.policy.change else self.reference

    @property
    def fallen(self) -> Night | None:
        """The first night of the worse level that the series ends at."""
        begin = self.found.state.regressed
        return self.past[begin] if begin is not None and begin < len(self.past) else None

    def sentence(self, verdict: Verdict) -> str:
        """What was decided and why."""
        night, against = self.night, self.against
        effect, (low, high) = verdict.effect_percent or 0.0, verdict.interval_percent or (0.0, 0.0)
        repeats = f", median of {night.measurements}" if night.measurements > 1 else ""
        pooled = f"{night.pooled} runs pooled, " if night.pooled > 1 else ""
        first = _day(self.past[against.first].time_ms) if against.first < len(self.past) else ""
        text = (
            f"{self.rule.name} {verdict.value:g} {self.rule.metric.unit}{repeats}: {pooled}{abs(effect):.1f} % "
            f"{'better' if effect >= 0 else 'worse'} [{low:+.1f}, {high:+.1f}] than {against.center:g}, the level of "
            f"{against.nights} runs{f' since {first}' if first else ''} (spread {100 * against.spread:.1f} %)"
        )
        if self.found.method == CHANGE_POINT:
            text += f"; still at the level of {self.current.center:g} that began with {verdict.first_bad}"
        elif verdict.word == "regression":
            text += f"; more than {100 * night.limit:.1f} % is red"
        elif verdict.word == "suspect":
            text += "; not certain enough to be red"
        if verdict.last_good:
            text += f"; last good {verdict.last_good}; first bad {verdict.first_bad}"
        if self.policy.change and self.fallen is not None:
            text += (
                f"; {self.policy.branch or 'the reference branch'} itself is below {self.reference.center:g} since "
                f"{_run(self.fallen)}, which nobody accepted"
            )
            text += "" if verdict.word == "regression" else ": not blamed on this change"
        return text

    def facts(self, verdict: Verdict, values: Sequence[float]) -> tuple[str, ...]:
        """What ``disagg verdict explain`` prints below the sentence."""
        rule, night, state, reference = self.rule, self.night, self.found.state, self.reference
        first, last = self.past[reference.first], self.past[min(reference.last, len(self.past) - 1)]
        lines = [
            f"metric {rule.name} ({rule.metric.unit}, {'larger' if rule.sign > 0 else 'smaller'} is better), smallest "
            f"effect {100 * rule.min_effect:g} %, {'gates' if verdict.gates else 'is reported only'}",
            f"measured {', '.join(f'{value:g}' for value in values)}",
            f"policy {self.policy.name}, branch {self.policy.branch or 'any'}: {len(self.past)} runs in the series, "
            f"{state.left_out} of them not at the reference's level",
            f"reference {reference.center:g}, spread of single runs {100 * reference.spread:.2f} %, "
            f"{reference.nights} runs from {_run(first)} to {_run(last)}",
        ]
        if reference.correlation:
            lines.append(f"neighbouring runs resemble each other (correlation {reference.correlation:.2f})")
        if self.fallen is not None:
            lines.append(f"the series ends below it, at {self.current.center:g}, from {_run(self.fallen)} on")
        lines.append(
            f"method {verdict.method}: loss {100 * night.loss:+.2f} % (standard error {100 * night.error:.2f} %), "
            f"limit {100 * night.limit:.2f} %, {night.pooled} runs pooled, p {_p(verdict.p)}"
        )
        return tuple(lines)


def _run(night: Night | None) -> str:
    if night is None:
        return ""
    image = night.record.get("s_container_image") or night.record.get("s_image")
    parts = (f"run {night.run_id}" if night.run_id else "", night.commit[:12], str(image or ""), _day(night.time_ms))
    return ", ".join(part for part in parts if part)


def _runs(*records: Mapping[str, Value]) -> tuple[tuple[str, str], ...]:
    found = ((str(record.get("s_run_id", "")), case_of(record)) for record in records if record)
    return tuple((run_id, case) for run_id, case in found if run_id and case)


def _day(time_ms: int) -> str:
    if not time_ms:
        return ""
    return datetime.datetime.fromtimestamp(time_ms / 1000, datetime.timezone.utc).strftime("%Y-%m-%d")


def _p(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2g}"


def _corrected(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Regressions that the number of metrics looked at explains are suspicions."""
    tested = [index for index, each in enumerate(verdicts) if each.gates and each.p is not None]
    believed = discoveries([verdicts[index].p or 0.0 for index in tested], FALSE_DISCOVERIES)
    found = list(verdicts)
    for index, certain in zip(tested, believed, strict=True):
        if found[index].word == "regression" and not certain:
            why = f"; one of {len(tested)} metrics, so not certain (Benjamini-Hochberg, q {FALSE_DISCOVERIES:g})"
            found[index] = replace(found[index], word="suspect", evidence=found[index].evidence + why)
    return found
