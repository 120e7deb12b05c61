"""The stage ``accuracy`` among the limits of a run: counted per task and deployment, only where there are tasks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pytest_disagg.config.accuracy_tasks import AccuracyTask
from pytest_disagg.config.case import Case
from pytest_disagg.topology.deadlines import deadlines

MakeCase = Callable[..., Case]
TASKS = (AccuracyTask("gsm8k"), AccuracyTask("mmlu"))


def with_tasks(case: Case, *, only: bool = False) -> Case:
    def asking(loads: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(replace(load, accuracy=TASKS, only_run_accuracy=only) for load in loads)  # type: ignore[type-var]

    servers = tuple(replace(spec, clients=asking(spec.clients)) for spec in case.servers)  # type: ignore[arg-type]
    return replace(case, clients=asking(case.clients), servers=servers)  # type: ignore[arg-type]


def counts(case: Case) -> dict[str, int]:
    return {stage.field: stage.count for stage in deadlines(case).stages}


def test_it_takes_time_only_where_there_are_tasks(make_case: MakeCase) -> None:
    case = make_case(points=3)
    assert counts(case)["accuracy_s"] == 0
    assert counts(with_tasks(case))["accuracy_s"] == 2
    assert deadlines(with_tasks(case)).measure_s < deadlines(case).measure_s
    assert counts(with_tasks(make_case(alone=(1, 1, 1), points=2)))["accuracy_s"] == 6


@pytest.mark.parametrize("total_s", [120, 600, 10800])
def test_it_fits_into_every_run(make_case: MakeCase, total_s: float) -> None:
    limits = deadlines(with_tasks(make_case(total_s=total_s, points=2)))
    assert sum(stage.total_s for stage in limits.stages) <= total_s * (1 + 1e-9)
    assert 10 <= limits.accuracy_s <= 1800


def test_loads_that_are_left_out_take_no_time(make_case: MakeCase) -> None:
    found = counts(with_tasks(make_case(points=3), only=True))
    assert (found["warmup_s"], found["measure_s"], found["accuracy_s"]) == (0, 1, 2)


def test_what_the_file_sets_is_kept(make_case: MakeCase) -> None:
    assert deadlines(with_tasks(make_case(timeouts={"accuracy_s": 50}))).accuracy_s == 50
