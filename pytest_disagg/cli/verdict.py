"""``disagg verdict segments|explain|check|accept``: change points, and verdicts on records without a run."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_disagg.verdict.names import POLICIES, REFERENCE_BRANCH

if TYPE_CHECKING:
    from contextlib import ExitStack

    from pytest_disagg.records.record import Record
    from pytest_disagg.verdict.accepted import Acceptance
    from pytest_disagg.verdict.decide import Grounds
    from pytest_disagg.verdict.types import Verdict

EXIT_BY_WORD = {"regression": 1, "invalid": 6}
ACCEPTED = Path("test_configs/baselines/accepted.yaml")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("verdict", help="judge records again, explain a verdict, accept a change")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    segments = actions.add_parser("segments", help="change points of a plain series")
    segments.add_argument("file", type=Path, metavar="FILE", help='{"values": [...]} as JSON, or a CSV (last column)')
    segments.add_argument("--json", action="store_true", help='print {"changepoints": [index, ...]}')
    segments.set_defaults(func=run_segments)
    explain = actions.add_parser("explain", help="print the evidence of each verdict on a run's records")
    check = actions.add_parser("check", help="judge records again: exit 0 pass, 1 regression, 6 invalid, 4 usage")
    accept = actions.add_parser("accept", help="accept a change: add a dated line to accepted.yaml")
    for action in (explain, check, accept):
        _add_grounds(action)
    for action in (explain, accept):
        action.add_argument("--point", metavar="POINT", help="that point alone, e.g. con8 or server0/con8")
        action.add_argument("--metric", metavar="METRIC", help="that metric alone, e.g. median_ttft")
    accept.add_argument("--reason", required=True, metavar="TEXT", help="why the new level is right")
    accept.add_argument("--by", default="", metavar="NAME", help="who says so")
    explain.set_defaults(func=run_explain)
    check.set_defaults(func=run_check)
    accept.set_defaults(func=run_accept)


def _add_grounds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("records", type=Path, metavar="RECORDS", help="records.jsonl, or a folder with one below it")
    parser.add_argument("--history", type=Path, metavar="PATH", help="history folder, or a file of records")
    parser.add_argument("--policy", choices=POLICIES, help="default: by what each record says of its build")
    parser.add_argument(
        "--reference-branch", metavar="NAME", help=f"default: PERF_BASELINE_BRANCH, else {REFERENCE_BRANCH}"
    )
    parser.add_argument("--baseline", type=Path, metavar="CSV", help="baseline CSV to check besides")
    parser.add_argument("--accepted", type=Path, metavar="FILE", help=f"default: {ACCEPTED}")


def run_segments(options: argparse.Namespace) -> int:
    """Print the change points.

    Raises:
        ConfigError: the file cannot be read as a series.
    """
    import json

    from pytest_disagg.verdict.changepoints import bounds, changepoints
    from pytest_disagg.verdict.plain import read_values
    from pytest_disagg.verdict.stats import mean_and_sd

    values = read_values(options.file)
    points = changepoints(values)
    if options.json:
        print(json.dumps({"changepoints": [point.index for point in points]}))
        return 0
    starts = {point.index: point for point in points}
    for begin, end in bounds(points, len(values)) if values else ():
        mean, sd = mean_and_sd(values[begin:end])
        change = starts.get(begin)
        turn = f", {100 * change.effect:+.1f} %, p {change.p:.1g}" if change is not None else ""
        print(f"[{begin}, {end}): mean {mean:g}, standard deviation {sd:g}{turn}")
    print(f"{len(points)} change points in {len(values)} values")
    return 0


def run_check(options: argparse.Namespace) -> int:
    """Judge the records again and print a table. Raises as :func:`_judged`."""
    verdicts, notes, word = _judged(options)
    for line in _table(verdicts):
        print(line)
    for note in notes:
        print(f"note: {note}")
    for verdict in verdicts:
        if verdict.word not in ("pass", "insufficient-history"):
            print(f"{verdict.shown}: {verdict.case}/{verdict.point}: {verdict.evidence}")
    print(f"verdict: {word}")
    return max((EXIT_BY_WORD.get(verdict.word, 0) for verdict in verdicts if verdict.red), default=0)


def run_explain(options: argparse.Namespace) -> int:
    """Print what each verdict rests on. Raises as :func:`_judged`."""
    from pytest_disagg.store.manifests import rerun_command

    verdicts, notes, _ = _judged(options)
    for verdict in _chosen(verdicts, options):
        print(f"{verdict.case}/{verdict.point}{f' {verdict.metric}' if verdict.metric else ''}: {verdict.shown}")
        print(f"  {verdict.evidence}")
        for fact in verdict.facts:
            print(f"  {fact}")
        for name, run in (("last good", verdict.last_good), ("first bad", verdict.first_bad)):
            if run:
                print(f"  {name}: {run}")
        if command := rerun_command(verdict):
            print(f"  both again: {command}")
    for note in notes:
        print(f"note: {note}")
    return 0


def run_accept(options: argparse.Namespace) -> int:
    """Add a line per regressed metric (or for ``--metric``) to accepted.yaml.

    Raises:
        UsageError: nothing in the records is a regression, and no metric was named.
        ConfigError: records or accepted.yaml cannot be read.
    """
    from pytest_disagg.errors import UsageError
    from pytest_disagg.verdict.accepted import append

    if not options.reason.strip():
        raise UsageError("--reason: found nothing, expected why the new level is right")
    verdicts, _, _ = _judged(options)
    chosen = _chosen(verdicts, options)
    if not options.metric:
        chosen = [each for each in chosen if each.word == "regression" and each.metric]
    if not chosen:
        raise UsageError(f"{options.records}: found no regression to accept; name another change with --metric")
    records = _records(options.records)
    path = options.accepted or ACCEPTED
    added = append(path, list(dict.fromkeys(_acceptance(each, records, options) for each in chosen)))
    print(added, end="")
    print(f"{path}: written; it counts once it is merged")
    return 0


def _acceptance(verdict: Verdict, records: Sequence[Record], options: argparse.Namespace) -> Acceptance:
    from pytest_disagg.records.points import group
    from pytest_disagg.verdict.accepted import Acceptance, today
    from pytest_disagg.verdict.history import SeriesKey, created_ms

    point = next(each for each in group(records) if (each.case, each.label) == (verdict.case, verdict.point))
    record = point.first
    return Acceptance(
        date=today(),
        case=verdict.case,
        point=verdict.point,
        metric=verdict.metric,
        since_ms=verdict.first_bad_ms or created_ms(record),
        reason=options.reason.strip(),
        run=str(record.get("s_run_id", "")),
        commit=str(record.get("s_commit", ""))[:12],
        by=options.by,
        gpu=str(record.get("s_gpu_type", "")),
        cluster=str(record.get("s_cluster", "")),
        tool=SeriesKey.of(record).tool,
    )


def _judged(options: argparse.Namespace) -> tuple[tuple[Verdict, ...], tuple[str, ...], str]:
    """The verdicts on the records, what else to know, and the word of the whole.

    Raises:
        ConfigError: records, baseline or accepted.yaml cannot be read.
        UsageError: there are no records.
    """
    from contextlib import ExitStack

    from pytest_disagg.verdict.decide import decide

    with ExitStack() as stack:
        grounds = _grounds(options, stack)
        judged = decide(grounds, _records(options.records))
        notes = (*judged.notes, *getattr(grounds.history, "notes", ()))
    return judged.verdicts, notes, judged.word


def _grounds(options: argparse.Namespace, stack: ExitStack) -> Grounds:
    from pytest_disagg.records.record import read
    from pytest_disagg.store.history import open_history
    from pytest_disagg.store.place import history_path
    from pytest_disagg.verdict import accepted, baseline
    from pytest_disagg.verdict.decide import Grounds
    from pytest_disagg.verdict.history import History, HistoryError, MemoryHistory

    given: Path | None = options.history
    history: History | None = None
    unreadable = ""
    if given is not None and given.is_file():
        history = MemoryHistory(read(given))
    else:
        try:
            history = stack.enter_context(open_history(history_path(given, os.environ), os.environ))
        except HistoryError as error:
            unreadable = str(error)
    return Grounds(
        baseline=baseline.load(options.baseline) if options.baseline else None,
        history=history,
        unreadable=unreadable,
        policy=options.policy,
        branch=options.reference_branch or os.environ.get("PERF_BASELINE_BRANCH") or REFERENCE_BRANCH,
        accepted=accepted.load(options.accepted or ACCEPTED),
    )


def _records(path: Path) -> list[Record]:
    from pytest_disagg.errors import UsageError
    from pytest_disagg.records.record import read

    files = sorted(path.rglob("records.jsonl")) if path.is_dir() else [path]
    records = [record for file in files for record in read(file)]
    if not records:
        raise UsageError(f"{path}: found no records, expected a records.jsonl with one JSON object per line")
    return records


def _chosen(verdicts: Sequence[Verdict], options: argparse.Namespace) -> list[Verdict]:
    """The verdicts on ``--point`` and ``--metric``.

    Raises:
        UsageError: there is none.
    """
    from pytest_disagg.errors import UsageError
    from pytest_disagg.records.metrics import metric

    name = metric(options.metric).name if options.metric else ""
    found = [
        each
        for each in verdicts
        if (not options.point or each.point == options.point) and (not name or each.metric == name)
    ]
    if not found and (options.point or name):
        there = ", ".join(dict.fromkeys(f"{each.point} {each.metric}".strip() for each in verdicts)) or "none"
        raise UsageError(f"found no verdict on {options.point or 'any point'} {name}, expected one of: {there}")
    return found


def _table(verdicts: Sequence[Verdict]) -> list[str]:
    rows: list[tuple[str, ...]] = [("case", "point", "metric", "value", "reference", "effect", "method", "verdict")]
    for each in verdicts:
        effect = "-" if each.effect_percent is None else f"{round(each.effect_percent, 1) + 0.0:+.1f} %"
        numbers = ("-" if number is None else f"{number:.3f}" for number in (each.value, each.reference))
        rows.append((each.case, each.point, each.metric or "-", *numbers, effect, each.method or "-", each.shown))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
