"""A night against its series: red, open, clear; a regression that stays, a slide, an acceptance, a change."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_disagg.verdict.reference import MIN_NIGHTS, state_of
from pytest_disagg.verdict.series import CHANGE_POINT, NIGHT, POOLED, Finding, judge_values, turn
from tests.unit.verdict.series import noise

CLEAN = noise(30)


def judged(past: Sequence[float], *tonight: float, **options: int | bool) -> Finding:
    return judge_values(past, tonight, sign=1, min_effect=0.03, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tonight", "word"),
    [
        ((100.0,), "pass"),
        ((98.6,), "pass"),
        ((95.5,), "suspect"),
        ((90.0,), "regression"),
        ((95.0, 95.5, 94.5), "regression"),
        ((95.0, 100.0, 100.5), "pass"),
        ((106.0,), "improvement"),
    ],
)
def test_words_without_another_measurement(tonight: tuple[float, ...], word: str) -> None:
    assert judged(CLEAN, *tonight).word == word


def test_the_same_numbers_of_a_latency_mean_the_opposite() -> None:
    assert judge_values(CLEAN, [106.0, 106.0, 106.0], sign=-1, min_effect=0.03).word == "regression"
    assert judge_values(CLEAN, [94.0], sign=-1, min_effect=0.03).word == "improvement"


def test_a_low_value_is_measured_again_until_it_is_decided() -> None:
    assert judged(CLEAN, 95.0, remeasure=5).open
    assert judged(CLEAN, 95.0, 95.2, remeasure=4).open
    decided = judged(CLEAN, 95.0, 95.2, 94.8, remeasure=3)
    assert (decided.word, decided.open, decided.method) == ("regression", False, NIGHT)
    assert judged(CLEAN, 95.0, 100.0, 100.2, remeasure=3).word == "pass"


def test_even_a_huge_loss_is_confirmed_where_that_is_possible() -> None:
    assert judged(CLEAN, 50.0, remeasure=5).open
    assert judged(CLEAN, 50.0).word == "regression"


def test_measurements_that_disagree_decide_nothing_before_the_budget_is_used_up() -> None:
    assert judged(CLEAN, 85.0, 86.0, 100.0, remeasure=3).open
    assert judged(CLEAN, 85.0, 86.0, 100.0, 100.1, 99.9, 100.2).word == "pass"


def test_a_short_history_judges_nothing() -> None:
    assert judged(CLEAN[: MIN_NIGHTS - 1], 50.0).word == "insufficient-history"
    assert judged(CLEAN[:MIN_NIGHTS], 50.0).word == "regression"


def test_nights_that_are_each_too_small_are_pooled() -> None:
    clean = noise(30, sigma=0.03)
    assert judged(clean, 96.3, 96.3, 96.3).word != "regression"
    found = judged([*clean, 96.0, 96.2, 95.9, 96.1], 96.3, 96.3, 96.3)
    assert (found.word, found.method) == ("regression", POOLED)
    assert found.night is not None
    assert found.night.pooled > 1


def test_a_night_that_does_not_agree_is_not_red_for_the_nights_before_it() -> None:
    assert judged([*CLEAN, 90.0, 90.0], 100.0).word == "pass"
    assert judged([*CLEAN, 90.0, 90.0], 98.6, 98.6, 98.6).word != "regression"


def test_a_regression_stays_red_and_names_its_first_night() -> None:
    found = judged([*CLEAN, *noise(30, level=95, seed=2)], 95.0)
    assert (found.word, found.method) == ("regression", CHANGE_POINT)
    assert found.state.regressed == 30
    assert found.state.reference is not None
    assert found.state.reference.center == pytest.approx(100, rel=0.01)


def test_one_lucky_value_does_not_mend_it() -> None:
    past = [*noise(30, sigma=0.02), *noise(30, sigma=0.02, level=95, seed=2)]
    assert judged(past, 97.4, remeasure=5).open
    assert judged(past, 97.4).word == "regression"
    assert judged(past, 98.0, 95.1, 94.9, remeasure=3).word == "regression"
    assert judged(past, 98.0, 99.8, 100.1, remeasure=3).word == "pass"


def test_it_is_green_again_when_it_is_mended() -> None:
    assert judged([*CLEAN, *noise(10, level=95, seed=2)], 100.0).word == "pass"


def test_an_accepted_level_is_the_reference_from_its_first_night_on() -> None:
    past = [*CLEAN, *noise(3, level=95, seed=2)]
    assert judged(past, 95.0, 95.0, 95.0).word == "regression"
    accepted = judged(past, 95.0, 95.0, 95.0, accepted=30)
    assert accepted.word == "pass"
    assert accepted.state.reference is not None
    assert accepted.state.reference.center == pytest.approx(95, rel=0.01)
    assert judged(past, 90.0, 90.2, 89.8, accepted=30).word == "regression"


def test_an_improvement_becomes_the_reference() -> None:
    past = [*CLEAN, *noise(10, level=110, seed=2)]
    state = state_of(past, sign=1, min_effect=0.03, tonight=False)
    assert state.reference is not None
    assert state.reference.center == pytest.approx(110, rel=0.01)
    assert judged(past, 100.0, 100.0, 100.0).word == "regression"


def test_a_slide_does_not_drag_its_reference_down() -> None:
    past = list(CLEAN)
    words = []
    for night, value in enumerate(noise(30, seed=5)):
        now = value * (1 - 0.005 * (night + 1))
        words.append(judged(past, now, now, now).word)
        past.append(now)
    assert "regression" in words[:12]
    assert words[12:] == ["regression"] * 18


def test_a_bad_node_for_two_nights_is_forgotten() -> None:
    past = [*noise(20), 80.0, 81.0, *noise(12, seed=3)]
    assert judged(past, 99.0).word == "pass"
    assert judged(past, 95.0, 95.0, 95.0).word == "regression"


def test_a_change_at_the_level_of_a_regressed_branch_is_not_blamed() -> None:
    past = [*CLEAN, *noise(6, level=95, seed=2)]
    assert judged(past, 95.0, 95.2, 94.8, change=True).word == "pass"


@pytest.mark.parametrize("nights", [1, 2, 3])
def test_nor_is_it_while_the_branch_has_just_begun_to_regress(nights: int) -> None:
    found = judged([*CLEAN, *noise(nights, level=95, seed=2)], 95.0, 95.2, 94.8, change=True)
    assert found.word in ("pass", "suspect")


def test_a_change_that_makes_it_worse_is_blamed() -> None:
    past = [*CLEAN, *noise(6, level=95, seed=2)]
    assert judged(past, 89.0, 89.2, 88.8, change=True).word == "regression"


def test_a_change_is_not_compared_with_the_best_day() -> None:
    past = [*CLEAN[:20], 108.0, *CLEAN[20:]]
    assert judged(past, 99.0, change=True).word == "pass"


def test_nights_that_resemble_their_neighbours_make_it_harder() -> None:
    level, drifting = 0.0, []
    for value in noise(40, level=1, sigma=1.0):
        level = 0.7 * level + 0.714 * (value - 1)
        drifting.append(100 + 2 * level)
    state = state_of(drifting, sign=1, min_effect=0.03, tonight=False)
    assert state.reference is not None
    assert state.reference.correlation > 0.3
    assert state.reference.inflation > 1.8


@pytest.mark.parametrize("value", [0.0, 5.0])
def test_series_without_any_spread(value: float) -> None:
    found = judged([value] * 20, value)
    assert found.word in ("pass", "insufficient-history")


def test_the_turn_is_the_first_of_the_nights_that_lost_the_same() -> None:
    found = judged([*CLEAN, 94.5, 94.8], 94.6, 94.7, 94.5)
    assert turn(found, [*CLEAN, 94.5, 94.8], 1) == (29, 30)
    assert turn(judged(CLEAN, 94.0, 94.0, 94.0), CLEAN, 1) == (29, 30)
