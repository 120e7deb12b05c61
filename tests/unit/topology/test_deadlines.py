from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_disagg.config.case import Case
from pytest_disagg.errors import ConfigError, UsageError
from pytest_disagg.topology.deadlines import Deadlines, deadlines, external_limit_s

MakeCase = Callable[..., Case]


def total_of(limits: Deadlines) -> float:
    return sum(stage.total_s for stage in limits.stages)


def assert_consistent(limits: Deadlines) -> None:
    assert total_of(limits) <= limits.total_s * (1 + 1e-9)
    assert all(stage.limit_s >= stage.floor_s for stage in limits.stages)
    assert limits.request_s < limits.measure_s
    assert limits.stall_s < min(limits.ready_s, limits.measure_s)
    assert limits.grace_s < limits.stop_s
    assert limits.heartbeat_timeout_s < limits.total_s


def error_of(case: Case, **options: Any) -> str:
    with pytest.raises(ConfigError) as error:
        deadlines(case, **options)
    return str(error.value)


def test_defaults_hold_where_they_fit_and_measure_gets_the_rest(make_case: MakeCase) -> None:
    limits = deadlines(make_case())

    assert (limits.launch_s, limits.ready_s, limits.probe_s, limits.warmup_s) == (600, 3600, 300, 600)
    assert (limits.store_s, limits.stop_s, limits.grace_s, limits.stall_s) == (60, 60, 10, 300)
    assert limits.measure_s == pytest.approx(10800 - 30 - 600 - 3600 - 300 - 600 - 60 - 60)
    assert_consistent(limits)


@pytest.mark.parametrize("total_s", [43, 44, 60, 90, 600, 3600, 10800, 86400])
@pytest.mark.parametrize("points", [1, 2, 9])
def test_a_total_alone_never_inverts_anything(make_case: MakeCase, total_s: float, points: int) -> None:
    case = make_case(total_s=total_s, points=points)
    if total_s < 36 + 7 * points:
        assert f"slurm.timeout: found {total_s:g} s, expected at least" in error_of(case)
    else:
        limits = deadlines(case)
        assert_consistent(limits)
        assert total_of(limits) == pytest.approx(total_s)


def test_measure_is_divided_evenly_over_the_loads_and_keeps_a_third(make_case: MakeCase) -> None:
    limits = deadlines(make_case(points=5, total_s=3600))

    assert limits.measure_s == pytest.approx(3600 / 3 / 5)


def test_the_run_holds_every_repeat_of_every_load(make_case: MakeCase) -> None:
    once, thrice = deadlines(make_case(points=2)), deadlines(make_case(points=2), repeats=3)

    assert {stage.field: stage.count for stage in thrice.stages} == {
        **{stage.field: stage.count for stage in once.stages},
        "measure_s": 6,
    }
    assert thrice.measure_s == pytest.approx(once.measure_s / 3)
    assert_consistent(thrice)
    assert total_of(thrice) == pytest.approx(10800)


def test_repeats_that_do_not_fit_are_an_error_that_names_them(make_case: MakeCase) -> None:
    set_by_file = make_case(points=2, total_s=600, timeouts={"measure_s": 60})
    assert deadlines(set_by_file).measure_s == 60
    assert error_of(set_by_file, repeats=10).endswith(
        "slurm.timeout: found 600 s, expected at least 1240 s: timeouts.measure_s 60 s x 20, and at least 40 s for the "
        "other stages, with every load measured 10 times"
    )
    assert error_of(make_case(total_s=600, timeouts={"request_s": 60}), repeats=5).endswith(
        "timeouts.request_s: found 60 s, expected less than timeouts.measure_s (40 s, computed, "
        "with every load measured 5 times)"
    )


def test_a_load_without_warm_up_gets_no_time_for_it(make_case: MakeCase) -> None:
    limits = deadlines(make_case(warmup=False))

    assert next(stage for stage in limits.stages if stage.field == "warmup_s").count == 0
    assert limits.measure_s > deadlines(make_case()).measure_s


def test_what_the_file_sets_is_kept_and_only_defaults_shrink(make_case: MakeCase) -> None:
    limits = deadlines(make_case(total_s=1000, timeouts={"ready_s": 700, "warmup_s": 20, "stall_s": 30}))

    assert (limits.ready_s, limits.warmup_s, limits.stall_s) == (700, 20, 30)
    assert limits.launch_s < 600
    assert_consistent(limits)
    assert total_of(limits) == pytest.approx(1000)


def test_a_set_measure_leaves_the_defaults_all_the_rest(make_case: MakeCase) -> None:
    limits = deadlines(make_case(total_s=6000, timeouts={"measure_s": 500}))

    assert limits.measure_s == 500
    assert limits.ready_s == 3600


def test_each_server_of_an_alone_case_is_a_deployment_of_its_own(make_case: MakeCase) -> None:
    limits = deadlines(make_case(alone=(1, 1, 1), points=2))

    counts = {stage.field: stage.count for stage in limits.stages}
    assert (counts["launch_s"], counts["ready_s"], counts["stop_s"]) == (3, 3, 3)
    assert (counts["warmup_s"], counts["measure_s"], counts["store_s"]) == (6, 6, 1)
    assert_consistent(limits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"total_s": 100, "timeouts": {"ready_s": 90, "measure_s": 20}},
            "slurm.timeout: found 100 s, expected at least 138 s: timeouts.ready_s 90 s, timeouts.measure_s 20 s, "
            "and at least 28 s for the other stages",
        ),
        (
            {"total_s": 100, "points": 4, "timeouts": {"measure_s": 20}},
            "slurm.timeout: found 100 s, expected at least 124 s: timeouts.measure_s 20 s x 4, and",
        ),
        ({"total_s": 20}, "slurm.timeout: found 20 s, expected at least 43 s: all stages at their shortest"),
        (
            {"total_s": 7200, "job_time_s": 3600},
            "slurm.timeout: found 7200 s, expected at most slurm.job_time (3600 s)",
        ),
        (
            {"timeouts": {"request_s": 60, "measure_s": 60}},
            "timeouts.request_s: found 60 s, expected less than timeouts.measure_s (60 s)",
        ),
        (
            {"total_s": 600, "timeouts": {"request_s": 400}},
            "timeouts.request_s: found 400 s, expected less than timeouts.measure_s (200 s, computed)",
        ),
        (
            {"timeouts": {"stall_s": 30, "ready_s": 30}},
            "timeouts.stall_s: found 30 s, expected less than timeouts.ready_s (30 s)",
        ),
        (
            {"timeouts": {"stall_s": 30, "measure_s": 20}},
            "timeouts.stall_s: found 30 s, expected less than timeouts.measure_s (20 s)",
        ),
        (
            {"timeouts": {"grace_s": 90}},
            "timeouts.grace_s: found 90 s, expected less than timeouts.stop_s (60 s, computed)",
        ),
        (
            {"total_s": 60, "timeouts": {"heartbeat_timeout_s": 60}},
            "timeouts.heartbeat_timeout_s: found 60 s, expected less than slurm.timeout (60 s)",
        ),
    ],
)
def test_an_inverted_pair_names_both_keys_and_values(
    make_case: MakeCase, change: dict[str, object], message: str
) -> None:
    assert message in error_of(make_case(**change))


def test_all_inverted_pairs_are_reported_at_once(make_case: MakeCase) -> None:
    with pytest.raises(ConfigError) as error:
        deadlines(make_case(job_time_s=60, timeouts={"grace_s": 90, "stall_s": 9000, "request_s": 9000}))
    assert [problem.key for problem in error.value.problems] == [
        "slurm.timeout",
        "timeouts.request_s",
        "timeouts.stall_s",
        "timeouts.stall_s",
        "timeouts.grace_s",
    ]


def test_defaults_give_way_to_a_short_stage_they_lie_in(make_case: MakeCase) -> None:
    limits = deadlines(make_case(timeouts={"ready_s": 4, "measure_s": 8, "stop_s": 3}))

    assert (limits.stall_s, limits.grace_s) == (2, 1.5)
    assert_consistent(limits)


def test_an_external_deadline_caps_the_run_and_is_named(make_case: MakeCase) -> None:
    limits = deadlines(make_case(), external_s=600)

    assert limits.total_s == 600
    assert_consistent(limits)
    assert deadlines(make_case(total_s=600), external_s=9000).total_s == 600
    assert "DISAGG_DEADLINE: found 10 s, expected at least 43 s" in error_of(make_case(), external_s=10)


def test_external_limit_is_what_is_left() -> None:
    assert external_limit_s({"DISAGG_DEADLINE": "1600.5"}, now_epoch_s=1000) == 600.5
    assert external_limit_s({}, now_epoch_s=1000) is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("900", "passed 100 s ago"),
        ("1000", "passed 0 s ago"),
        ("nan", "found 'nan', expected epoch"),
        ("soon", "found 'soon', expected epoch"),
    ],
)
def test_an_external_deadline_that_cannot_be_used(value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        external_limit_s({"DISAGG_DEADLINE": value}, now_epoch_s=1000)


def test_as_dict_is_plain_numbers(make_case: MakeCase) -> None:
    limits = deadlines(make_case())

    assert limits.as_dict()["ready_s"] == 3600
    assert all(isinstance(value, float) for value in limits.as_dict().values())
    assert len(limits.as_dict()) == 15
