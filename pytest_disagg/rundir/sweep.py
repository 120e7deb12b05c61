"""Which run directories may go. For housekeeping by a person, so here (and only here) directories are listed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.rundir.files import read_json

STILL_S = 60.0


@dataclass(frozen=True)
class Candidate:
    """A run's folder, and why it cannot go yet (empty: it can)."""

    path: Path
    age_s: float
    running: str = ""


def candidates(work_dir: Path, *, keep: int, older_than_s: float, now: float | None = None) -> list[Candidate]:
    """Runs beyond the newest ``keep`` that are older than ``older_than_s``, oldest first.

    Folders that are not runs are never among them. A run counts as running while a role of it has no outcome and wrote
    its file within the last minute.
    """
    now = time.time() if now is None else now
    runs = [(path, _touched(path)) for path in work_dir.iterdir() if path.is_dir() and cases_in(path)]
    newest_first = sorted(runs, key=lambda run: run[1], reverse=True)
    found = [
        Candidate(path, now - touched, running(path, now))
        for path, touched in newest_first[keep:]
        if now - touched > older_than_s
    ]
    return found[::-1]


def cases_in(run: Path) -> list[Path]:
    """The folders of a run's cases; empty where ``run`` is no run."""
    return [path for path in run.iterdir() if (path / "roles").is_dir()]


def _touched(run: Path) -> float:
    return max(path.stat().st_mtime for case in cases_in(run) for path in (case, case / "roles", case / "results"))


def running(run: Path, now: float) -> str:
    """A case of the run that still goes on, and one of its roles; empty where none does."""
    for case in cases_in(run):
        if read_json(case / "outcome.json") is not None:
            continue
        for path in (case / "roles").glob("*.json"):
            if not path.name.endswith(".exit.json") and now - path.stat().st_mtime < STILL_S:
                return f"{case.name}: {path.stem}"
    return ""
