"""``disagg baseline check|update RECORDS CSV``: records of a run against a baseline CSV, or into it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_disagg.verdict.types import Verdict

EXIT_BY_WORD = {"regression": 1, "invalid": 6}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("baseline", help="check records against a baseline CSV, or update it")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    check = actions.add_parser("check", help="exit 0 pass, 1 regression, 6 invalid, 4 usage")
    update = actions.add_parser("update", help="write the records' values into the CSV and show the difference")
    for action in (check, update):
        action.add_argument("records", type=Path, metavar="RECORDS", help="records.jsonl of a run")
        action.add_argument("csv", type=Path, metavar="CSV", help="baseline, wide or long form")
        action.add_argument(
            "--threshold",
            type=_percent,
            default=0.10,
            metavar="PERCENT",
            help="allowed change of the wide form, and of rows that update adds to the long form (default: 10)",
        )
    update.add_argument("--dry-run", action="store_true", help="show the difference, write nothing")
    update.add_argument("--form", choices=("wide", "long"), default="wide", help="of a CSV that is not there yet")
    check.set_defaults(func=run_check)
    update.set_defaults(func=run_update)


def run_check(options: argparse.Namespace) -> int:
    """Judge, print a table and what else there is to know.

    Raises:
        ConfigError: records or CSV cannot be read.
        UsageError: there are no records.
    """
    from pytest_disagg.verdict.baseline import load
    from pytest_disagg.verdict.judge import judge

    records = _records(options.records)
    judged = judge(load(options.csv), records, threshold=options.threshold, whole_file=True)
    for line in _table(judged.verdicts):
        print(line)
    for note in judged.notes:
        print(f"note: {note}")
    for verdict in judged.verdicts:
        if verdict.red:
            print(f"{verdict.word}: {verdict.case}/{verdict.point}: {verdict.evidence}")
    print(f"verdict: {judged.word}")
    return max((EXIT_BY_WORD.get(verdict.word, 0) for verdict in judged.verdicts), default=0)


def run_update(options: argparse.Namespace) -> int:
    """Show the unified diff and, without ``--dry-run``, replace the file whole. 6 where no record could be used.

    Raises:
        ConfigError: records or CSV cannot be read.
        UsageError: there are no records.
    """
    import difflib

    from pytest_disagg.verdict.update import update, write

    change = update(options.csv, _records(options.records), form=options.form, threshold=options.threshold)
    for note in change.notes:
        print(f"note: {note}")
    if change.used == 0:
        print("no record can be used")
        return EXIT_BY_WORD["invalid"]
    name, label = str(options.csv), str(options.csv).lstrip("/")
    before, after = change.before.splitlines(), change.after.splitlines()
    for line in difflib.unified_diff(before, after, f"a/{label}", f"b/{label}", lineterm=""):
        print(line)
    if change.before == change.after:
        print(f"{name}: nothing to change")
    elif options.dry_run:
        print(f"{name}: not written (--dry-run)")
    else:
        write(options.csv, change.after)
        print(f"{name}: written")
    return 0


def _records(path: Path) -> Sequence[dict[str, str | int | float | bool]]:
    from pytest_disagg.errors import UsageError
    from pytest_disagg.records.record import read

    records = read(path)
    if not records:
        raise UsageError(f"{path}: found no records, expected one JSON object per line")
    return records


def _table(verdicts: Sequence[Verdict]) -> list[str]:
    rows: list[tuple[str, ...]] = [("case", "point", "metric", "value", "reference", "effect", "verdict")]
    for each in verdicts:
        effect = "-" if each.effect_percent is None else f"{round(each.effect_percent, 1) + 0.0:+.1f} %"
        numbers = ("-" if number is None else f"{number:.3f}" for number in (each.value, each.reference))
        rows.append((each.case, each.point, each.metric or "-", *numbers, effect, each.word))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _percent(text: str) -> float:
    try:
        value = float(text.rstrip("% "))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected percent, at least 0")
    return value / 100
