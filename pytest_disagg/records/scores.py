"""Scores of an accuracy task, as lm_eval gives them, and their names among the metrics of a record."""

from __future__ import annotations

import re
from dataclasses import dataclass

PREFIX = "accuracy_"
NO_FILTER = "none"


@dataclass(frozen=True)
class Score:
    """One score: a metric of a task behind a filter (``exact_match`` behind ``flexible-extract``).

    ``stderr`` is its standard error and ``samples`` how many were asked, None where lm_eval does not say.
    """

    task: str
    metric: str
    filter_name: str
    value: float
    stderr: float | None = None
    samples: int | None = None

    @property
    def key(self) -> str:
        """lm_eval's own name: ``exact_match,flexible-extract``."""
        return f"{self.metric},{self.filter_name}"

    @property
    def name(self) -> str:
        """The metric of a record, without its ``d_``: ``accuracy_gsm8k_exact_match_flexible_extract``."""
        parts = [self.task, self.metric, *([] if self.filter_name == NO_FILTER else [self.filter_name])]
        return PREFIX + re.sub(r"[^a-z0-9]+", "_", "_".join(parts).lower()).strip("_")

    def __str__(self) -> str:
        error = "" if self.stderr is None else f" ± {self.stderr:.2g}"
        return f"{self.task} {self.key} {self.value:.6g}{error}"
