"""``<history>/manifests/``: the manifest of every run that is history, which outlives the run's directory.

Named as the run's record file is, and like that never rewritten. Nothing is derived from them.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_disagg.rundir.files import create_text
from pytest_disagg.rundir.layout import RunDir, safe_name
from pytest_disagg.store.truth import SUFFIX as RECORDS
from pytest_disagg.store.truth import file_name
from pytest_disagg.verdict.history import HistoryError

if TYPE_CHECKING:
    from pytest_disagg.verdict.types import Verdict

FOLDER = "manifests"
SUFFIX = ".json"
BETWEEN = "::"
"""Between run id and case, where a run has several."""


@dataclass(frozen=True)
class Kept:
    """A manifest and where it was found."""

    path: Path
    content: Mapping[str, Any]

    @property
    def run_id(self) -> str:
        return str(self.content.get("run_id", ""))

    @property
    def case(self) -> str:
        return str(self.content.get("case", ""))

    @property
    def job_id(self) -> str:
        slurm = self.content.get("slurm")
        return str(slurm.get("SLURM_JOB_ID", "")) if isinstance(slurm, Mapping) else ""

    @property
    def target(self) -> str:
        """What ``disagg rerun`` calls it by."""
        return f"{self.run_id}{BETWEEN}{self.case}"


def keep_manifest(history: Path, run_id: str, case: str, rundir: RunDir) -> None:
    """Keep the manifest of a run beside its records; one that is there already stays.

    Raises:
        HistoryError: the folder cannot be written.
    """
    folder = history / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        create_text(folder / name_of(run_id, case), rundir.manifest.read_text(encoding="utf-8"))
    except OSError as error:
        raise HistoryError(f"{folder}: the manifest cannot be kept: {error.strerror or error}") from error


def name_of(run_id: str, case: str) -> str:
    """``<run id>.<case>.json``."""
    return file_name(run_id, case).removesuffix(RECORDS) + SUFFIX


def read_manifest(path: Path) -> Kept:
    """The manifest in a file.

    Raises:
        HistoryError: it cannot be read, or is none.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise HistoryError(f"{path}: no manifest can be read: {error}") from error
    if not isinstance(content, dict) or "run_id" not in content or "case" not in content:
        raise HistoryError(f"{path}: found no run_id and case, expected a manifest.json")
    return Kept(path, content)


def kept_of(history: Path, run_id: str, case: str = "") -> list[Kept]:
    """The kept manifests of a run, or of a Slurm job (of its last start), by case.

    Raises:
        HistoryError: the folder or one of them cannot be read.
    """
    folder = history / FOLDER
    if case:
        path = folder / name_of(run_id, case)
        if path.exists():
            return [read_manifest(path)]
    try:
        with os.scandir(folder) as entries:
            # The id of a job's run begins with the job's. A name may be cut, so what is inside decides.
            beginning = f"{safe_name(run_id)}."
            names = sorted(entry.name for entry in entries if entry.name.startswith(beginning))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise HistoryError(f"{folder}: cannot be read: {error.strerror or error}") from error
    found = [each for name in names if (each := read_manifest(folder / name)) and case in ("", each.case)]
    runs = [each for each in found if each.run_id == run_id]
    if not runs and run_id.isdecimal():
        of_job = [each for each in found if each.job_id == run_id]
        last = max((each.run_id for each in of_job), key=_start, default="")
        runs = [each for each in of_job if each.run_id == last]
    return sorted(runs, key=lambda each: each.case)


def _start(run_id: str) -> list[int]:
    """``4711.1-2``: restart 1 of job 4711, the second time that this allocation played the case."""
    return [int(part) for part in run_id.replace("-", ".").split(".") if part.isdecimal()]


def rerun_command(verdict: Verdict) -> str:
    """The command that runs the last good and the first bad run of a regression again; empty where it does not name
    both, as where it never was good, or where imported records have no run id."""
    if len(verdict.runs) < 2:
        return ""
    return shlex.join(["disagg", "rerun", *(f"{run_id}{BETWEEN}{case}" for run_id, case in verdict.runs)])
