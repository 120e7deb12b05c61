"""``disagg quarantine``: which cases and nodes are in quarantine, until when and why; adds a dated line."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import datetime

    from pytest_disagg.verdict.quarantine import Quarantine

HEADER = ("state", "case or node", "cluster", "owner", "until", "reason")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "quarantine",
        help="list the cases and nodes in quarantine, or add a line",
        description="List baselines/quarantine.yaml of the first config directory that has one, or add a dated line to "
        "it.",
    )
    parser.add_argument(
        "--add",
        nargs=2,
        metavar=("case|node", "NAME"),
        help="a test id (* and ? stand for anything), or a Slurm host list such as gb200-[01-04]",
    )
    parser.add_argument("--cluster", metavar="NAME", help="on that cluster alone (with --add)")
    parser.add_argument("--owner", metavar="NAME", help="who mends it (with --add)")
    parser.add_argument("--until", metavar="DATE", help="the last day, such as 2026-12-05 (with --add)")
    parser.add_argument("--reason", metavar="TEXT", help="what is wrong with it (with --add)")
    parser.add_argument(
        "--config-dir",
        action="append",
        default=[],
        type=Path,
        metavar="DIR",
        help="directory of case files, repeatable (DISAGG_CONFIG_DIR, default: ./test_configs)",
    )
    parser.add_argument("--json", action="store_true", help="print the entries as JSON")
    parser.set_defaults(func=run)


def run(options: argparse.Namespace) -> int:
    """Add the line if one is given; print it, or all of them.

    Raises:
        ConfigError: the file cannot be read, or lines of it are wrong.
        UsageError: an option is missing or of the wrong form, or nothing can be added to the file.
    """
    from pytest_disagg.errors import UsageError
    from pytest_disagg.verdict.quarantine import append, load

    path = _file(options)
    given = {name: getattr(options, name) for name in ("cluster", "owner", "until", "reason")}
    if options.add:
        added = append(path, _entry(options.add, given))
        if not options.json:
            print(f"{added}{path}: written; it counts once it is merged")
            return 0
    elif names := [f"--{name}" for name, value in given.items() if value is not None]:
        raise UsageError(f"found {', '.join(names)}, expected it with --add case ID or --add node HOSTS")
    entries = load(path)
    if options.json:
        _print_json(entries)
    elif entries:
        _print_table(entries)
    else:
        print(f"nothing is in quarantine ({path})")
    return 0


def _file(options: argparse.Namespace) -> Path:
    """The file that runs read; where there is none, the one to make in the first config directory."""
    from pytest_disagg.cli.common import DEFAULT_CONFIG_DIR, search_dirs
    from pytest_disagg.verdict.dated import FOLDER
    from pytest_disagg.verdict.quarantine import FILE_NAME, find

    options.llm_src = None
    dirs = search_dirs(options, os.environ) or (DEFAULT_CONFIG_DIR,)
    return find(dirs) or dirs[0] / FOLDER / FILE_NAME


def _entry(add: list[str], given: dict[str, str | None]) -> Quarantine:
    """The line that the options describe.

    Raises:
        UsageError: one of them is missing or of the wrong form.
    """
    from pytest_disagg.errors import UsageError
    from pytest_disagg.verdict import dated
    from pytest_disagg.verdict.quarantine import check, made

    kind, name = add
    if kind not in ("case", "node"):
        raise UsageError(f"--add: found {kind!r}, expected 'case' or 'node'")
    for option in ("owner", "until", "reason"):
        if not (given[option] or "").strip():
            raise UsageError(f"--{option}: found nothing, expected a value (with --add)")
    entry = {"date": dated.today().isoformat(), kind: name, **{key: text for key, text in given.items() if text}}

    def wrong(name: str, found: str, expected: str, hint: str = "") -> None:
        option = "add" if name in ("case", "node") else name
        raise UsageError(f"--{option}: found {found}, expected {expected}" + (f" ({hint})" if hint else ""))

    check(entry, wrong)
    return made(entry)


def _print_json(entries: tuple[Quarantine, ...]) -> None:
    import json
    from dataclasses import asdict

    from pytest_disagg.verdict.dated import today

    day = today()
    found = [
        {**asdict(each), "state": each.state(day), "days_left": max((each.until - day).days, 0)} for each in entries
    ]
    print(json.dumps(found, indent=2, default=str))


def _print_table(entries: tuple[Quarantine, ...]) -> None:
    from pytest_disagg.verdict.dated import today

    rows = [HEADER, *(_row(each, today()) for each in entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(entry: Quarantine, day: datetime.date) -> tuple[str, ...]:
    left = (entry.until - day).days
    words = {"active": f"active, {left} {'day' if left == 1 else 'days'} left"}
    state = entry.state(day)
    about = entry.case or f"node {entry.node}"
    return words.get(state, state), about, entry.cluster or "-", entry.owner, entry.until.isoformat(), entry.reason
