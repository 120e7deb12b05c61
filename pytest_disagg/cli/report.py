"""``disagg report RUN...``: runs as a page or a PDF, and results side by side."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_disagg.errors import UsageError

if TYPE_CHECKING:
    from pytest_disagg.report.compare import Comparison

DEFAULT_WORK_DIR = "disagg-runs"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("report", help="show runs as an HTML page or a PDF, or compare results")
    parser.add_argument(
        "run", nargs="*", metavar="RUN", help="run directory, run id or Slurm job id (default: the newest run)"
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="the page (default: report.html in the run's folder)")
    parser.add_argument("--pdf", type=Path, metavar="FILE", help="the same as a PDF")
    parser.add_argument("--md", type=Path, metavar="FILE", help="verdict and tables as Markdown, for a merge request")
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("A", "B"),
        help="B with A; each a run, a file of records or a CSV (baseline, perf_script_test_results.csv)",
    )
    parser.add_argument("--history", type=Path, metavar="DIR", help="earlier records for the figures (DISAGG_HISTORY)")
    parser.add_argument(
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="where runs are (DISAGG_WORK_DIR, default: ./disagg-runs)",
    )
    legacy = parser.add_argument_group("as TensorRT-LLM's create_perf_comparison_report.py")
    legacy.add_argument("--files", nargs="+", default=[], metavar="CSV", help="as --compare, of any number")
    legacy.add_argument("--output_path", type=Path, metavar="PDF", help="as --pdf")
    parser.set_defaults(func=run)


def run(options: argparse.Namespace) -> int:
    """Write what was asked for and say where it is.

    Raises:
        UsageError: a run that is not there, nothing to compare, or the extra ``report`` is not installed.
        ConfigError: records or a CSV that cannot be read.
    """
    from pytest_disagg.report import make
    from pytest_disagg.report.find import find_cases, newest_run
    from pytest_disagg.store.place import default_path

    work_dir = Path(options.work_dir or os.environ.get("DISAGG_WORK_DIR") or DEFAULT_WORK_DIR)
    comparison = _comparison([*(options.compare or ()), *options.files], work_dir)
    words = options.run or ([] if comparison else [newest_run(work_dir)])
    folders = find_cases(words, work_dir)
    history = Path(options.history or os.environ.get("DISAGG_HISTORY") or default_path())
    report = make.read(folders, history)
    pdf = options.pdf or options.output_path
    html = options.html
    if html is None and pdf is None and options.md is None:
        html = (folders[0].parent if folders else Path()) / make.FILE_NAME
    try:
        if html is not None:
            make.write_html(html, report, comparison)
            print(html)
        if options.md is not None:
            make.write_markdown(options.md, report, comparison)
            print(options.md)
        if pdf is not None:
            from pytest_disagg.report import pdf as pdf_report

            pdf_report.write(pdf, report, comparison)
            print(pdf)
    except OSError as error:
        raise UsageError(
            f"cannot write {error.filename or html or options.md or pdf}: {error.strerror or error}"
        ) from error
    return 0


def _comparison(words: list[str], work_dir: Path) -> Comparison | None:
    """The comparison of these sources, None where there are none."""
    if not words:
        return None
    from pytest_disagg.report.compare import compare, result_set, titles
    from pytest_disagg.report.find import find_run

    if len(words) < 2:
        raise UsageError(f"--files: found {words[0]} alone, expected at least two files")
    paths = [Path(word) if Path(word).exists() else find_run(word, work_dir) for word in words]
    return compare([result_set(path, title) for path, title in zip(paths, titles(paths), strict=True)])
