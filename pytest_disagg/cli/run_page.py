"""The page of ``disagg run`` and ``disagg wait``: every job's run, with the history around it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_disagg.launch.slurm.result import JobResult

NO_PAGE = "none"


def add_page_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--html``."""
    parser.add_argument(
        "--html",
        metavar="FILE",
        help="page of all runs (DISAGG_HTML, default: report.html in the folder of the first; none: no page)",
    )


def write_page(results: Sequence[JobResult], given: str | None, history: Path) -> None:
    """Write it and say where. Whatever is wrong with the page, verdicts and exit code stand."""
    from pytest_disagg.errors import told

    folders = [Path(result.run_dir) for result in results if result.run_dir]
    if given == NO_PAGE or not (folders or given):
        return
    try:
        path = _write(results, folders, Path(given) if given else None, history)
    except Exception as error:  # noqa: BLE001 - see above
        print(f"no report page: {told(error)}")
        return
    print(f"report: {path}")


def _write(results: Sequence[JobResult], folders: Sequence[Path], given: Path | None, history: Path) -> Path:
    from pytest_disagg.report import make
    from pytest_disagg.report.model import CaseReport

    others = [
        CaseReport(result.case, result.run_id, result.verdict, kind=result.kind or "", red=result.red)
        for result in results
        if not result.run_dir
    ]
    path = given or folders[0].parent / make.FILE_NAME
    make.write_html(path, make.read(list(dict.fromkeys(folders)), history, others=others))
    return path
