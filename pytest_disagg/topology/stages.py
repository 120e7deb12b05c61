"""The stages of a run as a budget: how often each happens, what the file sets, and how the rest is fitted in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_disagg.config.accuracy_tasks import tasks_of

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case, LoadSpec

PLAN_S = 30.0
MEASURE_FLOOR_S = 5.0

# The shortest useful limits: below them a stage on a busy laptop expires although nothing is wrong.
_FLOORS_S = {
    "plan_s": 1.0,
    "prepare_s": 10.0,
    "launch_s": 10.0,
    "ready_s": 10.0,
    "probe_s": 5.0,
    "warmup_s": 2.0,
    "measure_s": MEASURE_FLOOR_S,
    "accuracy_s": 10.0,
    "store_s": 5.0,
    "stop_s": 5.0,
}
_MEASURE_SHARE = 1 / 3


@dataclass(frozen=True)
class Stage:
    """One stage: ``limit_s`` of each of ``count`` occurrences.

    ``field`` is the key in ``timeouts`` (``plan_s`` is none). ``floor_s`` is the shortest limit it may be given:
    ``limit_s`` itself where the file sets it.
    """

    name: str
    field: str
    count: int
    limit_s: float
    floor_s: float
    is_set: bool

    @property
    def total_s(self) -> float:
        return self.count * self.limit_s


def stages_of(case: Case, repeats: int) -> tuple[Stage, ...]:
    """The stages of ``case`` in order, with the file's or the default limits (``measure``, when not set: its floor).

    ``repeats`` is how often each load is measured.
    """
    loads = _loads(case)
    deployments = 1 if case.id.runtime == "disagg" else max(1, sum(spec.count for spec in case.servers))
    measured = [load for load in loads if not load.only_run_accuracy]
    warmups = sum(load.warmup for load in measured)
    table = (
        ("plan", "plan_s", 1),
        ("prepare", "prepare_s", deployments if case.model_source else 0),
        ("launch", "launch_s", deployments),
        ("ready", "ready_s", deployments),
        ("probe", "probe_s", deployments),
        ("warm-up", "warmup_s", warmups),
        ("measure", "measure_s", max(1, len(measured)) * repeats),
        ("accuracy", "accuracy_s", _accuracy_tasks(case)),
        ("gate, judge, store", "store_s", 1),
        ("stop", "stop_s", deployments),
    )
    return tuple(_stage(case, name, field, count) for name, field, count in table)


def fit(stages: tuple[Stage, ...], total_s: float) -> tuple[Stage, ...] | None:
    """Fit ``stages`` into ``total_s``; None where even the floors are too long.

    Default limits shrink together: each keeps its floor and the same share of what lies above it. Where ``measure`` is
    not set it gets all that is left, which is at least a third of what the set values leave, unless the others' floors
    need more of it.
    """
    measure = next(stage for stage in stages if stage.field == "measure_s")
    elastic = [stage for stage in stages if not stage.is_set and stage is not measure]
    free_s = total_s - sum(stage.total_s for stage in stages if stage.is_set)
    floors_s = sum(stage.count * stage.floor_s for stage in elastic)
    wanted_s = sum(stage.total_s for stage in elastic)
    measure_floor_s = 0.0 if measure.is_set else measure.count * measure.floor_s
    if free_s < floors_s + measure_floor_s:
        return None
    share = 1.0 if measure.is_set else 1.0 - _MEASURE_SHARE
    budget_s = min(max(share * free_s, floors_s), free_s - measure_floor_s)
    above_s = wanted_s - floors_s
    scale = min(1.0, (budget_s - floors_s) / above_s) if above_s > 0 else 1.0
    left_s = free_s - floors_s - scale * above_s

    def fitted(stage: Stage) -> Stage:
        if stage.is_set:
            return stage
        if stage is measure:
            return replace(stage, limit_s=left_s / stage.count)
        return replace(stage, limit_s=stage.floor_s + scale * (stage.limit_s - stage.floor_s))

    return tuple(fitted(stage) for stage in stages)


def _stage(case: Case, name: str, field: str, count: int) -> Stage:
    value = PLAN_S if field == "plan_s" else getattr(case.timeouts, field)
    is_set = field in case.timeouts.model_fields_set and value is not None
    limit_s = float(value) if value is not None else _FLOORS_S[field]
    return Stage(name, field, count, limit_s, limit_s if is_set else _FLOORS_S[field], is_set)


def _accuracy_tasks(case: Case) -> int:
    """How often lm_eval is run: loads of a deployment that ask for the same are answered once."""
    if case.id.runtime == "disagg":
        return len(tasks_of([load.accuracy for load in case.clients]))
    return sum(spec.count * len(tasks_of([load.accuracy for load in spec.clients])) for spec in case.servers)


def _loads(case: Case) -> tuple[LoadSpec, ...]:
    if case.id.runtime == "disagg":
        return case.clients
    return tuple(load for spec in case.servers for _ in range(spec.count) for load in spec.clients)
