"""``disagg config check`` and ``disagg config schema``."""

from __future__ import annotations

import argparse
import os
import sys


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``config`` to the sub-commands of ``disagg``."""
    parser = subparsers.add_parser(
        "config",
        help="check case files, or print their JSON Schema",
        description="Check case files, or print their JSON Schema.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = actions.add_parser(
        "check",
        help="print every problem of every FILE; exit 4 when there is one",
        description="Validate case files and resolve every case that they offer. Starts nothing.",
    )
    check.add_argument("file", nargs="+", metavar="FILE", help="YAML case file")
    check.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override, typed as YAML")
    check.set_defaults(func=run_check)
    schema = actions.add_parser(
        "schema",
        help="print the JSON Schema of case files, for editors",
        description="Print the JSON Schema of case files, of one kind or of both.",
    )
    schema.add_argument("kind", nargs="?", choices=("disaggregated", "aggregated"), help="default: either kind")
    schema.set_defaults(func=run_schema)


def run_check(options: argparse.Namespace) -> int:
    """Check all files: a line for each good one on stdout, one for each problem on stderr. 0, or 4 for any problem."""
    from pathlib import Path

    from pytest_disagg.cli.common import check_engine
    from pytest_disagg.config.resolve import Settings, offered_cases
    from pytest_disagg.errors import ConfigError
    from pytest_disagg.topology.deadlines import deadlines
    from pytest_disagg.topology.placement import place

    code = 0
    for file in options.file:
        unasked: str | None = None
        try:
            cases = offered_cases(Path(file), settings=Settings(sets=tuple(options.set)), environ=os.environ)
            for case in cases:
                place(case)
                deadlines(case)
                unasked = check_engine(case)
        except ConfigError as error:
            print(error, file=sys.stderr)
            code = 4
        else:
            number = "1 case" if len(cases) == 1 else f"{len(cases)} cases"
            print(f"{file}: ok ({number}){f', but {unasked}' if unasked else ''}")
    return code


def run_schema(options: argparse.Namespace) -> int:
    """Print the schema as JSON."""
    import json

    from pytest_disagg.config.schema_json import json_schema

    print(json.dumps(json_schema(options.kind), indent=2))
    return 0
