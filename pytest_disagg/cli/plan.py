"""``disagg plan``: where every server, rank and role of a case would run, and for how long. Starts nothing."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case
    from pytest_disagg.engines.protocol import Site


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``plan`` to the sub-commands of ``disagg``."""
    from pytest_disagg.cli.common import add_case_options

    parser = subparsers.add_parser(
        "plan",
        help="print nodes, GPUs, ranks, roles and deadlines of a case; starts nothing",
        description="Print the placement of cases on nodes and GPUs, their roles and their deadlines. Starts nothing "
        "and needs neither a GPU nor a cluster.",
    )
    parser.add_argument("target", nargs="+", metavar="TARGET", help="case file, its bare name, or a full test id")
    parser.add_argument("--json", action="store_true", help="JSON: one object, or a list when there are several")
    parser.add_argument("--commands", action="store_true", help="also print the command of each role")
    parser.add_argument(
        "--client", metavar="NAME", help="load generator whose commands these are (DISAGG_CLIENT, default: the file's)"
    )
    add_case_options(parser)
    parser.set_defaults(func=run)


def run(options: argparse.Namespace) -> int:
    """Print the plans of all targets; nothing is printed when one of them has a problem.

    Raises:
        UsageError: there is no load generator of that name.
        ConfigError: the problems of all targets together.
    """
    import json

    from pytest_disagg.cli.plan_text import render
    from pytest_disagg.errors import ConfigError, Problem

    plans: list[dict[str, Any]] = []
    problems: list[Problem] = []
    for target in options.target:
        try:
            plans += _plans(target, options)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    if options.json:
        print(json.dumps(plans[0] if len(plans) == 1 else plans, indent=2))
    else:
        print("\n\n".join(render(plan) for plan in plans))
    return 0


def _plans(target: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    from pytest_disagg.cli.common import search_dirs, settings
    from pytest_disagg.clients import registry
    from pytest_disagg.config.resolve import load_cases
    from pytest_disagg.engines.protocol import Site

    environ = os.environ
    cases = load_cases(target, dirs=search_dirs(options, environ), settings=settings(options, environ), environ=environ)
    site = Site(models_root=options.models_root, llm_src=options.llm_src) if options.commands else None
    if options.client:
        registry.get(options.client)
    client = options.client or environ.get("DISAGG_CLIENT") or None
    return [plan for case in cases for plan in plans_of(case, site, client)]


def plans_of(case: Case, site: Site | None = None, client: str | None = None) -> list[dict[str, Any]]:
    """The layouts of one case with its limits, notes and, where ``site`` is given, the commands there.

    ``client`` is the load generator; None: the file's.
    """
    from pytest_disagg.cli.common import check_engine
    from pytest_disagg.cli.plan_commands import commands
    from pytest_disagg.engines import registry as engines
    from pytest_disagg.errors import UsageError
    from pytest_disagg.topology.deadlines import deadlines
    from pytest_disagg.topology.layout import layouts
    from pytest_disagg.topology.placement import place

    check_engine(case)
    placement = place(case)
    limits = deadlines(case)
    plans = layouts(case, placement)
    together = [(server,) for server in placement.servers] if placement.alone else [placement.servers]
    for servers, plan in zip(together, plans, strict=True):
        plan["deadlines"] = limits.as_dict()
        plan["stages"] = [
            {"stage": stage.name, "limit_s": stage.limit_s, "times": stage.count} for stage in limits.stages
        ]
        plan["notes"] = list(case.notes)
        plan["placeholders"] = _placeholders(case)
        if site is not None:
            try:
                plan["commands"] = commands(case, placement, servers, site)
            except UsageError as error:
                plan["notes"].append(f"no commands: {error}")
                continue
            from pytest_disagg.cli.plan_benchmark import benchmark_commands

            engine = engines.get(case.engine)
            try:
                plan["commands"] += benchmark_commands(
                    case, engine, servers, site, alone=placement.alone, client=client
                )
            except UsageError as error:
                plan["notes"].append(f"no commands of BENCHMARK: {error}")
    return plans


def _placeholders(case: Case) -> dict[str, str]:
    """The placeholders that nothing filled: dotted key -> ``<name>``, or several of them."""
    from pytest_disagg.config.placeholders import placeholders_in
    from pytest_disagg.config.yaml import dotted

    found: dict[str, list[str]] = {}
    for key, name in placeholders_in(case.document):
        found.setdefault(dotted(key), []).append(f"<{name}>")
    return {key: " ".join(names) for key, names in found.items()}
