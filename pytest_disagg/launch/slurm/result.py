"""``<run directory>/job.json``: how the job of a run ended, its own part and Slurm's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pytest_disagg.errors import Kind
from pytest_disagg.rundir.files import read_json, to_json, write_text
from pytest_disagg.rundir.layout import RunDir

NAME = "job.json"


@dataclass(frozen=True)
class JobResult:
    """``kind`` is None where nothing was wrong. ``red`` are the reasons, decisive first; ``cancelled``: it was wanted.

    ``metrics`` maps a load to its metrics, ``words`` to its verdict. ``bad_nodes`` are the nodes that a retry avoids.
    ``gpu_hours`` are those of the whole allocation; ``quarantine`` and ``excused`` as in
    :class:`pytest_disagg.rundir.outcome.Outcome`.
    """

    case: str
    job_id: str
    run_id: str
    verdict: str
    kind: Kind | None = None
    red: tuple[str, ...] = ()
    cancelled: bool = False
    run_dir: str = ""
    nodes: str = ""
    bad_nodes: tuple[str, ...] = ()
    steps: Mapping[str, int] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    junit: str = ""
    gpu_hours: Mapping[str, float] = field(default_factory=dict)
    quarantine: str = ""
    excused: bool = False

    @property
    def headline(self) -> str:
        return self.red[0].partition("\n")[0] if self.red else self.verdict

    def write(self, rundir: RunDir) -> None:
        write_text(rundir.path / NAME, to_json(asdict(self)))

    @classmethod
    def read(cls, run_dir: Path) -> JobResult | None:
        data: dict[str, Any] | None = read_json(run_dir / NAME)
        if data is None:
            return None
        return cls(**{**data, **{name: tuple(data[name]) for name in ("red", "bad_nodes", "lines")}})
