"""The lm_eval tasks of a case, as plain data: what is run, and what its scores have to reach."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case

Model = Literal["local-completions", "local-chat-completions"]
Argument = str | int | float | bool

VARIABLE = "ACCURACY_CONFIG_JSON"
"""The block as JSON, in the environment: TensorRT-LLM's launcher sets it, and a file's own enabled block beats it."""


@dataclass(frozen=True)
class Limit:
    """What a score of a task must reach. ``score`` is lm_eval's ``metric,filter``, or a metric: each filter of it.

    ``upper``: the score must not be above it (a perplexity). ``key`` is where it stands. A ``sigma`` above 0 makes it
    an expectation that a one-sided test of level ``alpha`` compares with: see :meth:`bound`.
    """

    score: str
    value: float
    key: str = field(compare=False)
    upper: bool = False
    sigma: float = 0.0
    alpha: float = 0.05
    samples: int | None = None

    def names(self, metric: str, filter_name: str) -> bool:
        """Whether it is a limit of that score."""
        return self.score in (metric, f"{metric},{filter_name}")

    def bound(self, samples: int | None) -> float:
        """The value that still passes; of an expectation it depends on how many samples were asked.

        ``expected + z(alpha) * sqrt(2 sigma^2 / n)``: the hypothesis test of TensorRT-LLM's accuracy tests.
        """
        from statistics import NormalDist  # as slow to import as all of this file, and rarely wanted

        count = self.samples or samples or 0
        if not self.sigma or not count:
            return self.value
        margin = -NormalDist().inv_cdf(self.alpha) * math.sqrt(2 * self.sigma**2 / count)
        return self.value + margin if self.upper else self.value - margin


@dataclass(frozen=True)
class AccuracyTask:
    """One run of ``lm_eval``: the task, the kind of endpoint, more words for ``--model_args``, more options.

    ``env`` lies over the role's own environment.
    """

    name: str
    model: Model = "local-completions"
    model_args_extra: str = ""
    extra_kwargs: Mapping[str, Argument] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()


def tasks_of(per_load: Sequence[Sequence[AccuracyTask]]) -> list[tuple[AccuracyTask, tuple[int, ...]]]:
    """The different tasks of a deployment, each with the positions of the loads that ask for it.

    Loads that ask for the same are answered once.
    """
    found: list[tuple[AccuracyTask, list[int]]] = []
    for position, tasks in enumerate(per_load):
        for task in tasks:
            known = next((positions for each, positions in found if each == task), None)
            if known is None:
                found.append((task, [position]))
            else:
                known.append(position)
    return [(task, tuple(positions)) for task, positions in found]


def all_tasks(case: Case) -> list[AccuracyTask]:
    """Every different task of a case."""
    loads = (*case.clients, *(load for spec in case.servers for load in spec.clients))
    return [task for task, _ in tasks_of([load.accuracy for load in loads])]
