"""What `disagg rerun` wrote, once nothing can need it any more. For housekeeping by a person."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_disagg.launch.rerun.again import FOLDER, name_again
from pytest_disagg.launch.slurm.jobdir import JOBS, JobDir
from pytest_disagg.rundir.files import read_json
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.rundir.sweep import STILL_S, cases_in, running


def stale(work_dir: Path, staying: Sequence[Path], *, older_than_s: float, now: float | None = None) -> list[Path]:
    """Folders older than that of which no run in ``staying`` was made, and no job that has yet to start will be.

    None at all while one of ``staying`` is still going: it says where it came from only when it is measured.
    """
    now = time.time() if now is None else now
    folder = work_dir / FOLDER
    if not folder.is_dir() or any(running(run, now) for run in staying):
        return []
    # One that is younger than this may be about to be played.
    age_s = max(older_than_s, STILL_S)
    old = sorted(path for path in folder.iterdir() if path.is_dir() and now - path.stat().st_mtime > age_s)
    names = {name for run in staying for name in _made_of(run)}
    scripts = list(_not_started(work_dir)) if old else []
    return [
        path for path in old if path.name not in names and not any(f"{FOLDER}/{path.name}" in text for text in scripts)
    ]


def _made_of(run: Path) -> Iterator[str]:
    for case in cases_in(run):
        manifest = read_json(RunDir(case).manifest)
        if manifest is not None and manifest.get("rerun_of"):
            yield name_again(manifest["rerun_of"], manifest["case"])


def _not_started(work_dir: Path) -> Iterator[str]:
    """The scripts of jobs that no node has begun."""
    folder = work_dir / JOBS
    for path in folder.iterdir() if folder.is_dir() else ():
        job = JobDir(path)
        if not path.is_symlink() and job.script.is_file() and job.run_id() is None:
            yield job.script.read_text(encoding="utf-8")
