"""Which run a person means: a manifest, a run directory, a run id or a Slurm job id."""

from __future__ import annotations

from pathlib import Path

from pytest_disagg.errors import UsageError
from pytest_disagg.report.find import cases_of, find_run
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.store.manifests import BETWEEN, FOLDER, Kept, kept_of, read_manifest
from pytest_disagg.verdict.history import HistoryError


def find_manifest(target: str, work_dir: Path, history: Path) -> Kept:
    """The manifest of ``target``, from the run's directory or, where that is gone, from the history.

    ``<run>::<case>`` chooses one of a run's cases.

    Raises:
        UsageError: there is none, it cannot be read, or there are several.
    """
    word, _, case = target.partition(BETWEEN)
    path = Path(word)
    try:
        if path.is_file():
            return read_manifest(path)
        found = _in_run(word, work_dir, case) or kept_of(history, word, case)
    except HistoryError as error:
        raise UsageError(f"{target}: {error}") from error
    if not found:
        raise UsageError(
            f"found no manifest of {target!r}, expected a manifest.json, a run directory, or the id of a run or job in "
            f"{work_dir} (--work-dir) or {history / FOLDER} (--history); a run that ended before its measurement was "
            "concluded has none"
        )
    if len(found) > 1:
        cases = ", ".join(each.target for each in found)
        raise UsageError(f"{target}: found {len(found)} cases, expected one of {cases}")
    return found[0]


def _in_run(word: str, work_dir: Path, case: str) -> list[Kept]:
    """Those of a run whose directory is still there."""
    try:
        folders = cases_of(find_run(word, work_dir))
    except UsageError:
        return []
    paths = (RunDir(folder).manifest for folder in folders)
    found = [read_manifest(path) for path in paths if path.is_file()]
    return [each for each in found if case in ("", each.case)]
