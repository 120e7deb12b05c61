"""Options that several sub-commands share, with their environment twins, resolved in one place."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_disagg.errors import UsageError

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case
    from pytest_disagg.config.settings import Settings

DEFAULT_CONFIG_DIR = Path("test_configs")


def add_case_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which file a name means and what lies over its content."""
    group = parser.add_argument_group("cases")
    group.add_argument(
        "--config-dir",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="directory of case files, repeatable (DISAGG_CONFIG_DIR, default: ./test_configs)",
    )
    group.add_argument(
        "--llm-src",
        type=Path,
        metavar="DIR",
        help="TensorRT-LLM checkout whose case files are found by name (DISAGG_LLM_SRC)",
    )
    group.add_argument("--engine", metavar="NAME", help="engine instead of the file's own (DISAGG_ENGINE)")
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="value over the file's, e.g. benchmark.concurrency_list=1,2; repeatable",
    )
    group.add_argument(
        "--models-root",
        type=Path,
        metavar="DIR",
        help="folder under which models and datasets are looked up (LLM_MODELS_ROOT)",
    )
    group.add_argument(
        "--rehearse-limit",
        metavar="NAME=N,...",
        help="caps of a rehearsal, e.g. concurrency=8,requests=16 (DISAGG_REHEARSE_LIMIT)",
    )


def search_dirs(options: argparse.Namespace, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where a name or id is looked up: ``--config-dir`` (else DISAGG_CONFIG_DIR, else ./test_configs) and the places of
    :func:`pytest_disagg.config.lookup.search_dirs`.

    Raises:
        UsageError: one of the first is no directory.
    """
    from pytest_disagg.config import lookup

    named: list[Path] = list(options.config_dir)
    source = "--config-dir"
    if not named:
        source = "DISAGG_CONFIG_DIR"
        named = [Path(part) for part in environ.get(source, "").split(os.pathsep) if part]
    for path in named:
        if not path.is_dir():
            raise UsageError(f"{source}: found {path}, expected a directory")
    if not named and DEFAULT_CONFIG_DIR.is_dir():
        named = [DEFAULT_CONFIG_DIR]
    return lookup.search_dirs(named, environ, _llm_src(options, environ))


def settings(options: argparse.Namespace, environ: Mapping[str, str]) -> Settings:
    """What lies over a case file: command line, else environment.

    Raises:
        UsageError: a rehearse limit of the wrong form.
    """
    from pytest_disagg.config.settings import RehearseLimits, Settings

    return Settings(
        engine=options.engine or environ.get("DISAGG_ENGINE") or None,
        sets=tuple(options.set),
        llm_src=_llm_src(options, environ),
        models_root=options.models_root,
        rehearse_limits=RehearseLimits.parse(options.rehearse_limit or environ.get("DISAGG_REHEARSE_LIMIT", "")),
    )


def check_engine(case: Case) -> str | None:
    """Ask the case's engine what it cannot serve; why nobody could be asked, None where somebody was.

    Raises:
        ConfigError: every key and mode of the file that it cannot serve.
    """
    from pytest_disagg.engines import registry

    if case.engine in registry.names():
        registry.get(case.engine).check(case)
        return None
    return f"{registry.missing(case.engine)}: its keys were not looked at"


def _llm_src(options: argparse.Namespace, environ: Mapping[str, str]) -> Path | None:
    named = options.llm_src or environ.get("DISAGG_LLM_SRC")
    return Path(named) if named else None
