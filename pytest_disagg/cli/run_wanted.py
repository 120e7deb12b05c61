"""From a case to what is handed to Slurm, with the options of ``disagg run`` and the cluster file."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_disagg.errors import UsageError

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case
    from pytest_disagg.config.cluster import Cluster
    from pytest_disagg.config.settings import Settings
    from pytest_disagg.launch.slurm.submit import Wanted
    from pytest_disagg.verdict.quarantine import Quarantines

TEST_NAME = "test_e2e"
PROFILED = "profiling.nsys_on=true"
"""Part of the case, so that every role and every record knows that it was profiled."""


def settings_of(options: argparse.Namespace, cluster: Cluster, environ: Mapping[str, str]) -> Settings:
    """What lies over a case file: the options, where they say nothing the cluster file. Fills ``options`` in.

    Raises:
        UsageError: an option that cannot be used.
    """
    from dataclasses import replace

    from pytest_disagg.cli.common import settings
    from pytest_disagg.cli.profiling import ranges_of

    if ranges_of(options) and PROFILED not in options.set:
        options.set = [*options.set, PROFILED]
    options.llm_src = options.llm_src or cluster.llm_src
    options.models_root = options.models_root or cluster.models_root
    values = {"partition": cluster.partition, "account": cluster.account, "container_image": cluster.image}
    return replace(settings(options, environ), placeholders={name: value for name, value in values.items() if value})


def cases_of(options: argparse.Namespace, cluster: Cluster, environ: Mapping[str, str]) -> list[Case]:
    """The cases of ``options.target``.

    Raises:
        ConfigError, UsageError: one of them means none, or cannot be used.
    """
    from pytest_disagg.cli.common import search_dirs
    from pytest_disagg.config.resolve import load_cases
    from pytest_disagg.engines import registry

    over = settings_of(options, cluster, environ)
    dirs = search_dirs(options, environ)
    cases = [
        case for target in options.target for case in load_cases(target, dirs=dirs, settings=over, environ=environ)
    ]
    for case in cases:
        registry.get(case.engine)
    return cases


def test_of(options: argparse.Namespace) -> tuple[Path | None, str]:
    """The module and the name of the test that plays the roles; no module where it is made here.

    Raises:
        UsageError: ``--test`` names no module.
    """
    test, _, name = (options.test or "").partition("::")
    if test and not Path(test).is_file():
        raise UsageError(f"--test: found {test!r}, expected a test module")
    return (Path(test).absolute() if test else None), name or TEST_NAME


def wanted_of(
    case: Case,
    cluster: Cluster,
    work_dir: Path,
    options: argparse.Namespace,
    environ: Mapping[str, str],
    sets: Sequence[str] = (),
) -> Wanted:
    """What is submitted for ``case``; ``sets`` are overrides that it was resolved with besides ``--set``."""
    from pytest_disagg.cli.measurement import history_of, role_values
    from pytest_disagg.cli.profiling import ranges_of
    from pytest_disagg.config.cluster import find_file
    from pytest_disagg.launch.command import role_options
    from pytest_disagg.launch.slurm.submit import Wanted
    from pytest_disagg.verdict import quarantine

    test, name = test_of(options)
    file, quarantines = _quarantines(case, options, environ)
    out = quarantines.nodes(tuple(filter(None, (cluster.name, *quarantine.cluster_names(environ)))))
    values: dict[str, str | list[str] | None] = {
        "config-dir": [str(case.path.parent.absolute())],
        "llm-src": _absolute(options.llm_src),
        "models-root": _absolute(options.models_root),
        "engine": options.engine or environ.get("DISAGG_ENGINE") or None,
        "set": [*options.set, *sets],
        "rehearse-limit": options.rehearse_limit or environ.get("DISAGG_REHEARSE_LIMIT") or None,
        "work-dir": str(work_dir),
        "interface": cluster.interface,
        "stage-name": options.stage_name or environ.get("stageName") or None,
        **role_values(options, cluster, environ),
    }
    return Wanted(
        case=case,
        cluster=cluster,
        work_dir=work_dir,
        options=(*role_options(values), *(("--disagg-require-upload",) if options.require_upload else ())),
        visible=(history_of(options, cluster, environ),),
        test=test,
        test_name=name,
        rootdir=Path.cwd() if test else None,
        profiling=ranges_of(options),
        cluster_file=_absolute_path(find_file(options.cluster, environ)),
        retries=getattr(options, "retries", 0),
        exclude=tuple(node for nodes in out.values() for node in nodes),
        left_out=tuple(f"left out: {each.words(nodes)}" for each, nodes in out.items()),
        quarantine=file,
    )


def _quarantines(
    case: Case, options: argparse.Namespace, environ: Mapping[str, str]
) -> tuple[Path | None, Quarantines]:
    """The file that the job's roles will find, and what it says today."""
    from pytest_disagg.config.lookup import case_dirs
    from pytest_disagg.roles.options import baseline_dirs
    from pytest_disagg.verdict import quarantine

    llm_src = Path(options.llm_src).absolute() if options.llm_src else None
    dirs = baseline_dirs(case_dirs([case.path.parent], environ, llm_src), llm_src)
    return quarantine.find(dirs), quarantine.found_in(dirs)


def _absolute_path(path: Path | None) -> Path | None:
    return path.absolute() if path else None


def _absolute(path: Path | str | None) -> str | None:
    return str(Path(path).absolute()) if path else None
