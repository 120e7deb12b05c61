"""GPU-hours: what a run held, and how much of that became measurements. Pure functions.

``allocated`` is GPUs held x hours held. In a Slurm job of ours these are all GPUs that the job has on its nodes, from
the job's start to its end (in a record, and as BENCHMARK knows it: until it is written). Elsewhere they are the GPUs of
the case's servers, from the run's start; servers that one process plays one after another use the same GPUs, so the
largest counts. Simulated servers outside of a job, a machine without GPUs and a deployment that somebody else runs hold
none: then there are no GPU-hours, which is not the same as 0.

``useful`` is deployed GPUs x the measured window (``duration_s``), over every measurement, repeats too, of the points
that passed the gate, and x the time of accuracy tasks that gave scores; 0 where the run failed as ``infrastructure`` or
``functional``. ``wasted`` is the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

HOUR_S = 3600.0
PREFIX = "gpu_hours_"
NAMES = ("allocated", "useful", "wasted")


@dataclass(frozen=True)
class GpuHours:
    """``useful`` is never more than ``allocated``: two clocks may have measured them."""

    allocated: float
    useful: float = 0.0

    @classmethod
    def of(cls, gpus: int, held_s: float, measured: Iterable[tuple[int, float]] = ()) -> GpuHours:
        """``gpus`` held for ``held_s`` seconds; ``measured`` are deployed GPUs and seconds of each measurement."""
        allocated = gpus * max(held_s, 0.0) / HOUR_S
        useful = math.fsum(deployed * seconds for deployed, seconds in measured) / HOUR_S
        return cls(allocated, min(useful, allocated))

    @classmethod
    def read(cls, data: Mapping[str, Any], prefix: str = "") -> GpuHours | None:
        """What :meth:`to_dict` or, with ``d_gpu_hours_`` as the prefix, a record has; None where it has none."""
        allocated = _number(data.get(f"{prefix}allocated"))
        useful = _number(data.get(f"{prefix}useful", 0.0))
        return None if allocated is None or useful is None else cls(allocated, min(useful, allocated))

    @property
    def wasted(self) -> float:
        return self.allocated - self.useful

    def __add__(self, other: GpuHours) -> GpuHours:
        return GpuHours(self.allocated + other.allocated, self.useful + other.useful)

    def __str__(self) -> str:
        share = f" ({100 * self.wasted / self.allocated:.0f} %)" if self.allocated else ""
        values = {name: f"{shown(value)} {name}" for name, value in self.to_dict().items()}
        return f"{', '.join(values.values())}{share}"

    def to_dict(self) -> dict[str, float]:
        return {"allocated": self.allocated, "useful": self.useful, "wasted": self.wasted}

    def fields(self) -> dict[str, float]:
        """The fields of a record."""
        return {f"d_{PREFIX}{name}": value for name, value in self.to_dict().items()}


def total(found: Iterable[GpuHours | None]) -> GpuHours | None:
    """The sum of those that are known; None where none is."""
    known = [each for each in found if each is not None]
    return sum(known[1:], known[0]) if known else None


def shown(hours: float) -> str:
    """``1234``, ``12.3``, ``1.23``, ``0.0123``: three digits that matter, never an exponent."""
    if hours >= 100:
        return f"{hours:.0f}"
    if hours >= 1:
        return f"{hours:.{1 if hours >= 10 else 2}f}"
    return "0" if hours < 5e-7 else f"{hours:.{2 - math.floor(math.log10(hours))}f}"


def _number(value: object) -> float | None:
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable else None  # type: ignore[arg-type]
