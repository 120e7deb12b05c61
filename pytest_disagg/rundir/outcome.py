"""How a run ended: ``outcome.json``, written once, by BENCHMARK (or by the one process of an aggregated run)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pytest_disagg.rundir.files import create_text, to_json
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.rundir.state import Failure


@dataclass(frozen=True)
class Outcome:
    """Verdict, kind and cause of one run.

    ``verdict`` is a verdict word, or ``failed`` where nothing could be judged. ``red`` lines say, decisive first, why a
    run is red; ``lines`` is what a person sees besides. ``metrics`` maps point (``con8``) to its metrics, ``words``
    to its verdict word. ``gpu_hours`` are those ``allocated``, ``useful`` and ``wasted``, as far as BENCHMARK knows
    them. ``quarantine`` says who put the case or a node of it in quarantine, until when and why; empty: nobody.
    ``excused``: the case is, so whatever is red about it does not fail.
    """

    run_id: str
    case: str
    verdict: str
    kind: str | None = None
    cause: Failure | None = None
    red: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    stage_times: Mapping[str, float] = field(default_factory=dict)
    records: str = ""
    gpu_hours: Mapping[str, float] = field(default_factory=dict)
    quarantine: str = ""
    excused: bool = False

    def to_dict(self) -> dict[str, Any]:
        data = asdict(self)
        data["cause"] = self.cause.to_dict() if self.cause else None
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Outcome:
        known = {key: value for key, value in data.items() if key in cls.__dataclass_fields__}
        known["cause"] = Failure.from_dict(data["cause"]) if data.get("cause") else None
        known["red"] = tuple(data.get("red", ()))
        known["lines"] = tuple(data.get("lines", ()))
        return cls(**known)

    def write(self, rundir: RunDir) -> bool:
        """Publish it; False when the run already has one."""
        return create_text(rundir.outcome, to_json(self.to_dict()))


def shown(verdict: str, quarantine: str) -> str:
    """A verdict's word beside the quarantine: ``regression (quarantined by ann until 2026-12-05)``."""
    return f"{verdict} ({quarantine.partition(': ')[0]})" if quarantine else verdict
