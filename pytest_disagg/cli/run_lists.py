"""From the targets and lists of ``disagg run`` to its tasks."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_disagg.errors import ConfigError, Problem, UsageError

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case
    from pytest_disagg.config.cluster import Cluster
    from pytest_disagg.launch.lists.entry import Entry
    from pytest_disagg.launch.lists.select import Pick, Selection
    from pytest_disagg.launch.slurm.campaign import Task


def add_list_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which cases of which lists are meant."""
    from pytest_disagg.launch.lists.select import MODE_FILTERS

    group = parser.add_argument_group("test lists")
    group.add_argument(
        "--test-list",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="text list, test-db or QA YAML, or JSON list; repeatable",
    )
    group.add_argument(
        "--waives-file",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="markers over those of the lists, such as SKIP (reason); repeatable",
    )
    group.add_argument(
        "--test-db-match",
        action="append",
        default=[],
        metavar="FACTS",
        help="what test-db conditions are compared with: name=value,... or a JSON object; repeatable",
    )
    group.add_argument("--mode", choices=MODE_FILTERS, default="all", help="only disaggregated or aggregated runs")
    group.add_argument("-k", dest="keyword", metavar="EXPR", help="only cases whose id or file matches, as in pytest")
    group.add_argument("--allow-empty", action="store_true", help="nothing selected is no error (exit code 5)")


def select_cases(options: argparse.Namespace, loader: CaseLoader, environ: Mapping[str, str]) -> Selection:
    """What the targets and lists mean, filtered.

    Raises:
        ConfigError, UsageError: a list that cannot be read, a target that means no case, an option.
    """
    from pytest_disagg.launch.lists.entry import Entry
    from pytest_disagg.launch.lists.facts import parse_facts
    from pytest_disagg.launch.lists.keyword import parse_keyword
    from pytest_disagg.launch.lists.read import read_lists, read_waives
    from pytest_disagg.launch.lists.select import Filters, select
    from pytest_disagg.launch.lists.waives import Waives, platform_of

    if not options.target and not options.test_list:
        raise UsageError("nothing to run: expected a CASE or --test-list FILE")
    keyword = parse_keyword(options.keyword) if options.keyword else None
    lists = read_lists(options.test_list, parse_facts(options.test_db_match))
    platform = platform_of(options.stage_name or environ.get("stageName"))
    waives = Waives(read_waives(options.waives_file), platform)
    entries = [*(Entry(target) for target in options.target), *lists.entries]
    selection = select(entries, loader, Filters(options.mode, keyword, waives, platform))
    return replace(selection, notes=(*lists.notes, *selection.notes))


def tasks_of(
    selection: Selection,
    loader: CaseLoader,
    cluster: Cluster,
    work_dir: Path,
    options: argparse.Namespace,
    environ: Mapping[str, str],
) -> list[Task]:
    """A task for each case. One of a list that cannot be a job says why; one of the command line raises.

    Raises:
        ConfigError, UsageError: as :func:`pytest_disagg.launch.slurm.submit.prepare`.
    """
    from pytest_disagg.cli.run_wanted import test_of, wanted_of
    from pytest_disagg.launch.slurm import submit
    from pytest_disagg.launch.slurm.campaign import Task

    module, name = test_of(options)
    file = submit.TEST_NAME if module is None else module.name

    def task(pick: Pick) -> Task:
        made = Task(
            pick.name,
            f"{file}::{name}[{pick.name}]",
            markers=pick.markers,
            where="" if pick.entry.path is None else pick.entry.where,
        )
        if pick.markers.skip is not None:
            return made
        if pick.case is None:
            return replace(made, refusal=f"config: {pick.entry.where}: {pick.problem}")
        wanted = wanted_of(pick.case, cluster, work_dir, options, environ, loader.bounds.get(pick.name, ()))
        try:
            prepared = submit.prepare(wanted)
        except (ConfigError, UsageError) as error:
            if pick.entry.path is None:
                raise
            return replace(made, refusal=f"config: {pick.entry.where}: {error}")
        return replace(made, wanted=wanted, test=prepared.submission.test)

    return [task(pick) for pick in selection.picks]


class CaseLoader:
    """Cases by line, with the settings of the command. ``bounds`` are the overrides that a TIMEOUT became, by case."""

    def __init__(self, options: argparse.Namespace, cluster: Cluster, environ: Mapping[str, str]) -> None:
        from pytest_disagg.cli.common import search_dirs
        from pytest_disagg.cli.run_wanted import settings_of

        self._settings = settings_of(options, cluster, environ)
        self._dirs = search_dirs(options, environ)
        self._environ = environ
        self.bounds: dict[str, tuple[str, ...]] = {}

    def cases(self, entry: Entry) -> list[Case]:
        """The cases that a line means, with an engine that is there."""
        from pytest_disagg.config.resolve import load_cases
        from pytest_disagg.engines import registry
        from pytest_disagg.launch.lists.jsonlist import CASE_MODES

        if entry.mode in CASE_MODES:
            cases = [self._case_of_mode(entry, CASE_MODES[entry.mode])]
        else:
            cases = load_cases(entry.target, dirs=self._dirs, settings=self._settings, environ=self._environ)
            if entry.mode is not None:
                cases = self._of_kind(cases, entry)
        for case in cases:
            registry.get(case.engine)
        return cases

    def bounded(self, case: Case, limit_s: float) -> Case:
        """The case with a ``slurm.timeout`` of ``limit_s``; its roles get the same override."""
        from pytest_disagg.config.resolve import load_case
        from pytest_disagg.topology.deadlines import deadlines

        bound = f"slurm.timeout={limit_s:.0f}"
        settings = replace(self._settings, sets=(*self._settings.sets, bound))
        shorter = load_case(case.id.text, path=case.path, settings=settings, environ=self._environ)
        deadlines(shorter)
        self.bounds[case.id.text] = (bound,)
        return shorter

    def _case_of_mode(self, entry: Entry, prefix: str) -> Case:
        from pytest_disagg.config.lookup import ConfigFiles, search_dirs
        from pytest_disagg.config.resolve import load_case

        dirs = search_dirs(self._dirs, self._environ, self._settings.llm_src)
        found = ConfigFiles(dirs).find(entry.target)
        if found.id is not None:
            raise ConfigError([Problem(entry.path, entry.line, "mode", f"{entry.mode!r} beside a test id", "no mode")])
        text = f"{prefix}-{found.path.stem}"
        return load_case(text, path=found.path, settings=self._settings, environ=self._environ)

    def _of_kind(self, cases: list[Case], entry: Entry) -> list[Case]:
        runtime = "disagg" if entry.mode == "disagg" else "alone"
        kept = [case for case in cases if case.id.runtime == runtime]
        if not kept:
            found = f"{entry.mode!r}, but {entry.target} gives {', '.join(case.id.text for case in cases)}"
            raise ConfigError([Problem(entry.path, entry.line, "mode", found, "the mode that the file is for")])
        return kept
