"""What sub-commands that run something share: their one case, and their exit code."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pytest_disagg.cli.main import EXIT_BY_KIND, EXIT_OK
from pytest_disagg.errors import Kind, UsageError

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case
    from pytest_disagg.rundir.outcome import Outcome


def add_work_dir(parser: argparse.ArgumentParser) -> None:
    """``--work-dir``, the same for every sub-command that reads or writes run directories."""
    parser.add_argument(
        "--work-dir", type=Path, metavar="DIR", help="run directories (DISAGG_WORK_DIR, default: ./disagg-runs)"
    )


def work_dir(options: argparse.Namespace, environ: Mapping[str, str]) -> Path:
    """Where run directories lie, absolute."""
    return Path(options.work_dir or environ.get("DISAGG_WORK_DIR") or "disagg-runs").absolute()


def one_case(target: str, options: argparse.Namespace, environ: Mapping[str, str]) -> Case:
    """The case that ``target`` means; of a file with several, the first one.

    Raises:
        ConfigError: no such file, or what is wrong with it.
        UsageError: its engine is not installed or cannot run here.
    """
    from pytest_disagg.cli.common import search_dirs, settings
    from pytest_disagg.config.resolve import load_cases
    from pytest_disagg.engines import registry

    dirs = search_dirs(options, environ)
    case = load_cases(target, dirs=dirs, settings=settings(options, environ), environ=environ)[0]
    if reason := registry.get(case.engine).unavailable(case):
        raise UsageError(f"{case.id.text}: engine {case.engine}: {reason}")
    return case


def outcome_code(outcome: Outcome) -> int:
    """0 where nothing was wrong or the case is in quarantine, else the code of the kind of failure."""
    return EXIT_BY_KIND[cast(Kind, outcome.kind)] if outcome.kind and not outcome.excused else EXIT_OK
