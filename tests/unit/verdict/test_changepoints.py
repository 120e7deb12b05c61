"""Change points: of simulated series, of real ones with people's annotations, and of awkward ones."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pytest_disagg.verdict.changepoints import Rule, bounds, changepoints
from tests.unit.verdict.series import noise

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
SERIES = Path(__file__).resolve().parents[4] / "shared/spec/real-series"


def indexes(values: list[float], rule: Rule | None = None) -> list[int]:
    return [point.index for point in changepoints(values, rule)]


def test_a_step_is_found_where_it_is() -> None:
    points = changepoints([*noise(30), *noise(20, level=95, seed=2)])
    assert [point.index for point in points] == [30]
    assert points[0].effect == pytest.approx(-0.05, abs=0.01)
    assert points[0].p < 1e-6


def test_a_short_dip_is_found_from_both_sides() -> None:
    assert indexes([*noise(60), *noise(6, level=90, seed=2), *noise(60, seed=3)]) == [60, 66]


def test_single_outliers_are_no_change() -> None:
    values = noise(60)
    for index in (7, 21, 22, 50):
        values[index] = 82.0
    assert indexes(values) == []


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [0.0] * 20, [5.0] * 20])
def test_what_has_no_change(values: list[float]) -> None:
    assert indexes(values) == []


def test_a_step_without_any_noise_is_certain() -> None:
    assert indexes([5.0] * 10 + [6.0] * 10) == [10]


def test_changes_too_small_to_matter_are_merged() -> None:
    values = [*noise(40, sigma=0.001), *noise(40, sigma=0.001, level=101, seed=2)]
    assert indexes(values) == [40]
    assert indexes(values, Rule(min_effect=0.03)) == []


def test_segments_are_long_enough() -> None:
    values = [*noise(20), 90.0, 90.2, *noise(20, seed=3)]
    assert indexes(values, Rule(min_segment=3)) == []


def test_independent_noise_has_hardly_any_change() -> None:
    found = sum(len(changepoints(noise(60, seed=seed))) for seed in range(60))
    assert found <= 1


def test_drift_is_not_taken_for_changes() -> None:
    total = 0
    for seed in range(10):
        r, level, values = random.Random(seed), 0.0, []
        for _ in range(120):
            level = 0.7 * level + 0.714 * r.gauss(0, 1)
            values.append(100 + level)
        total += len(changepoints(values))
    # Of 1 200 values; without what neighbours have in common it would be some thirty.
    assert total <= 6


def test_bounds_cut_everything() -> None:
    values = [*noise(30), *noise(20, level=90, seed=2)]
    assert bounds(changepoints(values), len(values)) == [(0, 30), (30, 50)]


@pytest.mark.skipif(not SERIES.is_dir(), reason="../shared is not here")
def test_real_series_as_people_annotated_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import segments

    precision, recall, f1 = segments.scores(segments.ours, segments.series(SERIES))
    assert f1 >= 0.80
    assert precision >= 0.9
    assert recall >= 0.7


def test_scoring_counts_each_prediction_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import segments

    assert segments.hits([10, 12], [11]) == 1
    assert segments.hits([10], [16]) == 0
    assert segments.score({"a": [0, 50], "b": []}, [0, 52, 90]) == pytest.approx((0.5, 1.0, 2 / 3))
