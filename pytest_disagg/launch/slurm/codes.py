"""Exit codes of ``disagg run`` and ``disagg wait``, and so of the job itself."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_disagg.errors import Kind
from pytest_disagg.launch.slurm.result import JobResult

CANCELLED = 2
BY_KIND: dict[Kind, int] = {"regression": 1, "invalid": 6, "functional": 7, "infrastructure": 8}


def exit_code(result: JobResult) -> int:
    """0 pass or a case in quarantine, 1 regression, 2 cancelled, 6 invalid, 7 functional, 8 infrastructure."""
    if result.cancelled:
        return CANCELLED
    if result.excused:
        return 0
    return BY_KIND[result.kind] if result.kind else 0


def highest(results: Iterable[JobResult]) -> int:
    """The code of several cases: the highest."""
    return max((exit_code(result) for result in results), default=0)
