"""What a role is told from outside: the case and everything that is not in its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pytest_disagg.clients.protocol import LoadClient
from pytest_disagg.config.case import Case
from pytest_disagg.engines.protocol import Engine
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.verdict.quarantine import Quarantines


class RunHooks(Protocol):
    """What other people's code may see and change; the plugin forwards it to pytest's hooks."""

    def stage(self, case: Case, role: str, stage: str, event: str) -> None:
        """A stage began (``start``) or ended (``end``)."""
        ...

    def record(self, case: Case, record: dict[str, Any]) -> None:
        """A record is about to be written; change it in place."""
        ...


class NoHooks:
    """Hooks of a run that nobody listens to."""

    def stage(self, case: Case, role: str, stage: str, event: str) -> None:
        return

    def record(self, case: Case, record: dict[str, Any]) -> None:
        return


@dataclass(frozen=True)
class RunOptions:
    """One role's part of one run. ``host`` is the address that servers of this process bind.

    ``history`` is the folder of earlier records, None where nothing is judged against them or added to them.
    ``policy`` names what judges, None for what each record says of its build; ``reference_branch`` is what changes are
    compared with.
    ``models_root`` holds models and datasets, ``llm_src`` is a TensorRT-LLM checkout; None where there is none.
    ``started`` is how this process was started, for the manifest.
    ``external_limit_s`` is what is left of the Slurm job in seconds, None where nothing else ends the run.
    """

    case: Case
    run_id: str
    work_dir: Path
    host: str
    engine: Engine
    client: LoadClient
    log: Callable[[str], None]
    hooks: RunHooks = field(default_factory=NoHooks)
    baseline: Path | None = None
    baseline_dirs: tuple[Path, ...] = ()
    stage_name: str = ""
    repeat: int = 1
    keep: bool = False
    history: Path | None = None
    policy: str | None = None
    reference_branch: str = "main"
    require_upload: bool = False
    external_limit_s: float | None = None
    environ: Mapping[str, str] = field(default_factory=dict)
    models_root: Path | None = None
    llm_src: Path | None = None
    started: Mapping[str, Any] = field(default_factory=dict)
    quarantines: Quarantines = field(default_factory=Quarantines)

    @property
    def repeats(self) -> int:
        """How often each load is measured: ``repeat``, but once where a deployment takes one load."""
        return self.engine.probe_policy(self.case.id.mode).repeats(self.repeat)

    @property
    def rundir(self) -> RunDir:
        return RunDir.of(self.work_dir, self.run_id, self.case.id.text)


def baseline_dirs(config_dirs: Sequence[Path], llm_src: Path | None) -> tuple[Path, ...]:
    """Where baseline CSVs are looked for: beside the case files, then where TensorRT-LLM has its own."""
    return (*config_dirs, llm_src / "tests/integration/defs/perf") if llm_src else tuple(config_dirs)
