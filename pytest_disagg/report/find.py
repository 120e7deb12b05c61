"""Which run directories a person means by a path, a run id or a Slurm job id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_disagg.errors import UsageError
from pytest_disagg.rundir.layout import safe_name

_JOBS = "jobs"


def cases_of(folder: Path) -> list[Path]:
    """The run directories in a folder: itself, or those right below it; in the order of their names."""
    if is_case(folder):
        return [folder]
    return sorted(path for path in folder.iterdir() if path.is_dir() and is_case(path))


def is_case(folder: Path) -> bool:
    """Whether it is ``<work dir>/<run id>/<case>/``."""
    return any((folder / name).exists() for name in ("outcome.json", "roles", "job.json")) and folder.name != _JOBS


def find_run(word: str, work_dir: Path) -> Path:
    """The folder that ``word`` means: a path, a run id below ``work_dir``, or a Slurm job submitted from there.

    Raises:
        UsageError: there is none.
    """
    places = [Path(word), work_dir / safe_name(word)]
    if word.isdecimal():
        # Its newest start, as the job script noted it.
        noted = work_dir / _JOBS / word / "run_id"
        run_id = noted.read_text(encoding="utf-8").strip() if noted.is_file() else f"{word}.0"
        places.append(work_dir / safe_name(run_id))
    for place in places:
        if place.is_dir():
            return place
    raise UsageError(f"found no run {word!r}, expected a run directory or the id of a run in {work_dir} (--work-dir)")


def find_cases(words: Sequence[str], work_dir: Path) -> list[Path]:
    """The run directories of all these runs, each once.

    Raises:
        UsageError: a word means no run, or a folder without one.
    """
    found: list[Path] = []
    for word in words:
        folder = find_run(word, work_dir)
        cases = cases_of(folder)
        if not cases:
            raise UsageError(f"{folder}: found no run directory, expected one (it has roles/ and outcome.json)")
        found += cases
    return list(dict.fromkeys(path.absolute() for path in found))


def newest_run(work_dir: Path) -> str:
    """The id of the newest run in a work directory: run ids sort by time, those of Slurm jobs by number.

    Raises:
        UsageError: there is none.
    """
    runs = [path for path in work_dir.iterdir() if path.is_dir() and cases_of(path)] if work_dir.is_dir() else []
    if not runs:
        raise UsageError(f"found no run in {work_dir} (--work-dir), expected the path or id of one")
    return max(runs, key=lambda path: path.stat().st_mtime).name
