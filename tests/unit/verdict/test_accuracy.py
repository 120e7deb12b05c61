"""Scores against the limits of the file."""

from __future__ import annotations

import pytest

from pytest_disagg.config.accuracy_tasks import AccuracyTask, Limit
from pytest_disagg.records.scores import Score
from pytest_disagg.verdict.accuracy import Compared, compare

FLEXIBLE = Score("gsm8k", "exact_match", "flexible-extract", 0.712, 0.0125, 1319)
STRICT = Score("gsm8k", "exact_match", "strict-match", 0.9, 0.008, 1319)


def compared(*limits: Limit) -> Compared:
    return compare(AccuracyTask("gsm8k", limits=limits), (FLEXIBLE, STRICT), lambda key: f"x.yaml:7: {key}")


def findings(*limits: Limit) -> list[tuple[str, str]]:
    return [(finding.kind, finding.text) for finding in compared(*limits).findings]


def test_a_score_below_its_minimum() -> None:
    assert findings(Limit("exact_match,flexible-extract", 0.88, "accuracy.minimum.gsm8k")) == [
        (
            "functional",
            "accuracy: gsm8k exact_match,flexible-extract 0.712 is below 0.88 (x.yaml:7: accuracy.minimum.gsm8k)",
        )
    ]


@pytest.mark.parametrize(("value", "red"), [(0.712, False), (0.7121, True), (0.0, False)])
def test_a_minimum_may_be_met_exactly(value: float, red: bool) -> None:
    assert bool(findings(Limit("exact_match,flexible-extract", value, "k"))) is red


@pytest.mark.parametrize(("value", "red"), [(0.712, False), (0.7119, True)])
def test_a_maximum(value: float, red: bool) -> None:
    found = findings(Limit("exact_match,flexible-extract", value, "k", upper=True))
    assert bool(found) is red
    assert not red or found[0][1] == "accuracy: gsm8k exact_match,flexible-extract 0.712 is above 0.7119 (x.yaml:7: k)"


def test_without_a_filter_every_filter_has_to_reach_it() -> None:
    assert [text.split()[2] for _, text in findings(Limit("exact_match", 0.95, "k"))] == [
        "exact_match,flexible-extract",
        "exact_match,strict-match",
    ]


def test_a_limit_of_no_score_is_never_passed_over() -> None:
    ((kind, text),) = findings(Limit("exact_match,flexible-extrakt", 0.1, "k"))
    assert kind == "invalid"
    assert text == (
        "accuracy: gsm8k has no score exact_match,flexible-extrakt (x.yaml:7: k); lm_eval gave "
        "exact_match,flexible-extract, exact_match,strict-match (did you mean 'exact_match,flexible-extract'?)"
    )


def test_a_limit_of_a_tag_is_told_whose_scores_there_are() -> None:
    parts = [Score(name, "acc", "none", 0.5) for name in ("mmlu_art", "mmlu_law")]
    found = compare(AccuracyTask("mmlu", limits=(Limit("acc,none", 0.4, "k"),)), parts, str)
    assert [(finding.kind, finding.text) for finding in found.findings] == [
        ("invalid", "accuracy: mmlu has no score acc,none (k); lm_eval gave mmlu_art acc,none, mmlu_law acc,none")
    ]


def test_an_expectation_names_the_bound_that_it_was_compared_with() -> None:
    ((_, text),) = findings(Limit("exact_match,flexible-extract", 0.95, "k", sigma=0.5))
    assert text == "accuracy: gsm8k exact_match,flexible-extract 0.712 is below 0.917975 (x.yaml:7: k: 0.95 expected)"


def test_every_score_is_shown_with_its_limits() -> None:
    found = compared(
        Limit("exact_match,strict-match", 0.88, "k"), Limit("exact_match,strict-match", 1, "k", upper=True)
    )
    assert found.findings == ()
    assert found.limits == 2
    assert found.lines == (
        "accuracy: gsm8k exact_match,flexible-extract 0.712 ± 0.013: no limit in the file",
        "accuracy: gsm8k exact_match,strict-match 0.9 ± 0.008: at least 0.88, at most 1",
    )
