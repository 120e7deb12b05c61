"""All that a run is judged by, put together: baseline CSV, history, the policy and what was accepted. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_disagg.records.points import RecordPoint, case_of, group
from pytest_disagg.records.record import Value
from pytest_disagg.verdict import compatible
from pytest_disagg.verdict.accepted import Acceptance
from pytest_disagg.verdict.against import METHOD, judge_point
from pytest_disagg.verdict.baseline import Baseline
from pytest_disagg.verdict.history import History, HistoryError, SeriesKey
from pytest_disagg.verdict.judge import METHOD as CSV
from pytest_disagg.verdict.judge import Judged, judge
from pytest_disagg.verdict.policy import RULES_FIELD, Policy, policy_of, rules_text
from pytest_disagg.verdict.types import Verdict, worst

if TYPE_CHECKING:
    from pytest_disagg.config.blocks import VerdictBlock

CONFIRMATIONS = 2
"""How often what a baseline CSV calls a regression is measured again: the median of three forgives one bad one."""


@dataclass(frozen=True)
class Grounds:
    """What records are judged by. ``history`` is None where there is none, ``unreadable`` says why one that should be
    there cannot be used. ``policy`` is a name (None: by what each record says of its build), ``branch`` the reference
    branch, ``block`` the case file's own rules."""

    baseline: Baseline | None = None
    history: History | None = None
    unreadable: str = ""
    policy: str | None = None
    branch: str = "main"
    block: VerdictBlock | None = None
    accepted: Sequence[Acceptance] = field(default_factory=tuple)

    def policy_for(self, record: Mapping[str, Value]) -> Policy:
        """Raises UsageError: a policy that nobody knows."""
        return policy_of(self.policy, record, branch=self.branch, block=self.block)


def decide(
    grounds: Grounds,
    records: Sequence[Mapping[str, Value]],
    *,
    remeasure: int = 0,
    whole_file: bool = False,
) -> Judged:
    """The verdicts on ``records``. ``remeasure`` is how many more measurements of a point can be had.

    A point that a baseline CSV has judged does not lose that verdict to a short history; an unreadable history is no
    pass. Stages that are FUNCTIONAL-ONLY have suspicions where others have regressions.

    Raises:
        ConfigError: two rows of the baseline give the same metric of the same point a reference.
        UsageError: a policy that nobody knows.
    """
    judged = judge(grounds.baseline, records, whole_file=whole_file)
    played = [record for record in records if record.get("b_rehearsal") is not True and case_of(record)]
    verdicts: list[Verdict] = []
    notes = list(judged.notes)
    for point in group(played):
        own = [each for each in judged.verdicts if (each.case, each.point) == (point.case, point.label)]
        policy = grounds.policy_for(point.first)
        if point.valid:
            own, said = _with_history(grounds, policy, point, own, remeasure)
            notes += said
        verdicts += [_softened(each) for each in own] if policy.functional_only else own
    return Judged(tuple(verdicts), tuple(dict.fromkeys(notes)))


def stated(grounds: Grounds, verdicts: Sequence[Verdict], record: Mapping[str, Value]) -> dict[str, Value]:
    """What a record says of the verdicts on its point: regression or not, its evidence, and the rules it was judged by.

    Under ``compatible`` these are that rule's own text and, after a merge, the baselines it computed.
    """
    rules = rules_text(grounds.block)
    fields: dict[str, Value] = {RULES_FIELD: rules} if rules else {}
    by_rule = [each for each in verdicts if each.method == compatible.METHOD and each.metric]
    if by_rule:
        return fields | compatible.fields_of(by_rule, record)
    return fields | {
        "b_is_regression": worst(verdicts) == "regression",
        "s_regression_info": "; ".join(each.evidence for each in verdicts),
    }


def undecided(judged: Judged, repeated: int) -> bool:
    """Whether another measurement can still decide, after ``repeated`` ones: a test against history says so itself; a
    baseline CSV has the median of three judged."""
    return any(
        each.open or (each.red and each.method == CSV and repeated < CONFIRMATIONS)
        for each in judged.verdicts
        if each.gates and each.word in ("suspect", "regression")
    )


def _with_history(
    grounds: Grounds, policy: Policy, point: RecordPoint, from_csv: list[Verdict], remeasure: int
) -> tuple[list[Verdict], list[str]]:
    """The CSV's verdicts and the history's, and notes on what either could not say."""
    if policy.name == "baseline" or (grounds.history is None and not grounds.unreadable):
        return from_csv, []
    judged = [each for each in from_csv if each.metric]
    try:
        if grounds.history is None:
            raise HistoryError(grounds.unreadable)
        series = grounds.history.series(SeriesKey.of(point.first))
    except HistoryError as error:
        text = f"the history could not be read: {error}"
        return [*judged, _unjudged(point, text)], []
    if policy.name == "compatible":
        found = compatible.judge(point, series, branch=policy.branch)
    else:
        found = judge_point(point, series, policy, grounds.accepted, remeasure=remeasure)
    told = [each for each in found if each.word != "insufficient-history"]
    untold = list(_merged(each for each in found if each.word == "insufficient-history" and each.gates))
    if told:
        return [*judged, *told, *(() if judged else untold)], [each.evidence for each in untold if judged]
    if judged:
        return judged, [f"{point.label}: {each.evidence}" for each in untold]
    unjudged = untold or [_unjudged(point, "it has no metric that gates")]
    return [*(from_csv if grounds.baseline is not None else ()), *unjudged], []


def _merged(verdicts: Iterable[Verdict]) -> Iterable[Verdict]:
    """One verdict for metrics that lack the same history."""
    found = list(verdicts)
    reasons = {each.evidence.partition(": ")[2] for each in found}
    if len(found) < 2 or len(reasons) > 1 or any(each.method != METHOD for each in found):
        return found
    return [replace(found[0], metric="", value=None, evidence=next(iter(reasons)))]


def _unjudged(point: RecordPoint, evidence: str) -> Verdict:
    return Verdict("insufficient-history", method=METHOD, evidence=evidence, case=point.case, point=point.label)


def _softened(verdict: Verdict) -> Verdict:
    if verdict.word != "regression":
        return verdict
    text = f"{verdict.evidence}; a FUNCTIONAL-ONLY stage never fails on performance"
    return replace(verdict, word="suspect", open=False, evidence=text)
