"""Every time limit of a run, as one tree computed from the case before anything starts.

A wait is shorter than its stage, the stages together are not longer than the run, the run is not longer than the Slurm
job. Only values that the file sets can break that; defaults give way (see :func:`deadlines`). All values are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_disagg.errors import ConfigError, Problem, UsageError
from pytest_disagg.topology.problems import problem
from pytest_disagg.topology.stages import Stage, fit, stages_of

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case

DEADLINE_VARIABLE = "DISAGG_DEADLINE"
"""Set inside a Slurm job: epoch seconds at which the job must be over."""

_REQUEST_SHARE = 0.9
_STALL_SHARE = 0.5
_GRACE_SHARE = 0.5
_HEARTBEAT_SHARE = 0.25


@dataclass(frozen=True)
class Deadlines:
    """The limits of one run. ``stages`` are in order, each with how often it happens; their sum is at most ``total_s``.

    The ``_s`` fields are the limits of *one* occurrence: one deployment for launch, ready, probe and stop; one load for
    warm-up, one repeat of it for measure, one task for accuracy. ``stall_s`` is the longest time without progress,
    ``grace_s`` the time between TERM and KILL.
    """

    total_s: float
    plan_s: float
    prepare_s: float
    launch_s: float
    ready_s: float
    probe_s: float
    warmup_s: float
    measure_s: float
    accuracy_s: float
    store_s: float
    stop_s: float
    request_s: float
    stall_s: float
    grace_s: float
    heartbeat_timeout_s: float
    stages: tuple[Stage, ...]

    def as_dict(self) -> dict[str, float]:
        """Field name -> seconds, for plan.json and for people."""
        return {name: value for name, value in vars(self).items() if isinstance(value, float)}


def external_limit_s(environ: Mapping[str, str], now_epoch_s: float) -> float | None:
    """Seconds left until ``DISAGG_DEADLINE``; None where it is not set.

    Raises:
        UsageError: not a number, or already past.
    """
    text = environ.get(DEADLINE_VARIABLE, "").strip()
    if not text:
        return None
    try:
        left_s = float(text) - now_epoch_s
    except ValueError:
        left_s = math.nan
    if not math.isfinite(left_s):
        raise UsageError(f"{DEADLINE_VARIABLE}: found {text!r}, expected epoch seconds")
    if left_s <= 0:
        raise UsageError(f"{DEADLINE_VARIABLE}: the Slurm job's deadline passed {abs(left_s):.0f} s ago (epoch {text})")
    return left_s


def deadlines(case: Case, *, repeats: int = 1, external_s: float | None = None) -> Deadlines:
    """Compute the limits of ``case``; ``external_s`` (see :func:`external_limit_s`) caps the whole run.

    ``repeats`` is how often each load is measured (``--disagg-repeat``): the run has to hold all of them.

    Values in the file's ``timeouts`` hold as they are. Where they and the defaults of the rest do not fit into the run,
    the defaults shrink in proportion, down to a floor. ``measure_s``, unless set, is what the other stages leave of the
    run, evenly over its loads and their repeats, and as a rule at least a third of what the set values leave.

    Raises:
        ConfigError: an inverted pair (each named with both keys and values), or a run too short for its stages.
    """
    total_s = case.total_s if external_s is None else min(case.total_s, external_s)
    total_key = "slurm.timeout" if total_s == case.total_s else DEADLINE_VARIABLE
    problems = _Problems(case, repeats)
    if case.job_time_s is not None and case.total_s > case.job_time_s:
        problems.inverted("slurm.timeout", case.total_s, "at most", "slurm.job_time", case.job_time_s)
    stages = stages_of(case, repeats)
    fitted = fit(stages, total_s)
    if fitted is None:
        problems.too_short(stages, total_key, total_s)
        raise ConfigError(problems.found)
    limits = {stage.field: stage.limit_s for stage in fitted}
    waits = _waits(case, limits, total_s)

    is_set = case.timeouts.model_fields_set
    ready_s, measure_s = limits["ready_s"], limits["measure_s"]
    if waits["request_s"] >= measure_s:
        problems.inverted_timeout("request_s", waits["request_s"], "measure_s", measure_s)
    if "stall_s" in is_set:
        for stage, limit_s in (("ready_s", ready_s), ("measure_s", measure_s)):
            if waits["stall_s"] >= limit_s:
                problems.inverted_timeout("stall_s", waits["stall_s"], stage, limit_s)
    if waits["grace_s"] >= limits["stop_s"]:
        problems.inverted_timeout("grace_s", waits["grace_s"], "stop_s", limits["stop_s"])
    if waits["heartbeat_timeout_s"] >= total_s:
        problems.inverted("timeouts.heartbeat_timeout_s", waits["heartbeat_timeout_s"], "less than", total_key, total_s)
    if problems.found:
        raise ConfigError(problems.found)
    return Deadlines(total_s=float(total_s), stages=fitted, **limits, **waits)


def _waits(case: Case, limits: Mapping[str, float], total_s: float) -> dict[str, float]:
    """The waits inside stages: what the file sets, else the default or a share of the stage, whichever is shorter."""
    timeouts = case.timeouts
    is_set = timeouts.model_fields_set
    shortest_s = min(limits["ready_s"], limits["measure_s"])
    shares = {
        "stall_s": (timeouts.stall_s, _STALL_SHARE * shortest_s),
        "grace_s": (timeouts.grace_s, _GRACE_SHARE * limits["stop_s"]),
        "heartbeat_timeout_s": (timeouts.heartbeat_timeout_s, _HEARTBEAT_SHARE * total_s),
    }
    waits = {name: float(value if name in is_set else min(value, share)) for name, (value, share) in shares.items()}
    request_s = timeouts.request_s
    waits["request_s"] = float(request_s if request_s is not None else _REQUEST_SHARE * limits["measure_s"])
    return waits


class _Problems:
    """Collects what is wrong, so that all of it is reported at once."""

    def __init__(self, case: Case, repeats: int) -> None:
        self._case = case
        self._repeated = f", with every load measured {repeats} times" if repeats > 1 else ""
        self.found: list[Problem] = []

    def inverted(self, key: str, value_s: float, relation: str, other_key: str, other_s: float) -> None:
        self._add(key, f"{value_s:g} s", f"{relation} {other_key} ({other_s:g} s)")

    def inverted_timeout(self, field: str, value_s: float, other: str, other_s: float) -> None:
        other_is_set = other in self._case.timeouts.model_fields_set
        computed = "" if other_is_set else ", computed" + (self._repeated if other == "measure_s" else "")
        self._add(f"timeouts.{field}", f"{value_s:g} s", f"less than timeouts.{other} ({other_s:g} s{computed})")

    def too_short(self, stages: tuple[Stage, ...], total_key: str, total_s: float) -> None:
        floor_s = sum(stage.count * stage.floor_s for stage in stages)
        in_file = [stage for stage in stages if stage.is_set]
        parts = ", ".join(
            f"timeouts.{stage.field} {stage.limit_s:g} s" + (f" x {stage.count}" if stage.count > 1 else "")
            for stage in in_file
        )
        rest_s = floor_s - sum(stage.count * stage.limit_s for stage in in_file)
        detail = f"{parts}, and at least {rest_s:g} s for the other stages" if parts else "all stages at their shortest"
        self._add(total_key, f"{total_s:g} s", f"at least {floor_s:g} s: {detail}{self._repeated}")

    def _add(self, key: str, found: str, expected: str) -> None:
        self.found.append(problem(self._case, key, found, expected))
