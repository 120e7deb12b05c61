"""``disagg list``: the newest measured points of every case, and the highest concurrency within an SLO."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_disagg.cli.stores import add_history, folder, reported
from pytest_disagg.errors import UsageError

if TYPE_CHECKING:
    from pytest_disagg.launch.lists.keyword import Predicate
    from pytest_disagg.verdict.latest import Latest
    from pytest_disagg.verdict.slo import Answer

EXIT_NOTHING = 5
OWN = "own"
"""``--slo`` without limits: each case's own."""
STEP = "median_gen_worker_per_iter_device_step_time"
RATES = (
    ("token_throughput", "tok/s"),
    ("output_token_throughput_per_gpu", "tok/s/GPU"),
    ("output_token_throughput_per_user", "tok/s/user"),
)
RECORDS = ("results/records.jsonl", "*/results/records.jsonl", "*/*/results/records.jsonl")
"""Below a run directory, the folder of a run, a work directory."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from pytest_disagg.cli.running import add_work_dir
    from pytest_disagg.verdict.slo import DEFAULT_STATISTIC, STATISTICS

    parser = subparsers.add_parser(
        "list",
        help="list the newest measured points, or the highest concurrency within an SLO",
        description="Print the newest measurement of every point; with --slo, per case the highest concurrency that "
        "keeps it. Exit codes: 0, 4 usage, 5 no records.",
    )
    parser.add_argument(
        "source",
        nargs="*",
        metavar="RECORDS|RUN|DIR",
        help="file of records, run directory, run id, Slurm job id, or folder of runs (default: the history)",
    )
    add_history(parser)
    add_work_dir(parser)
    parser.add_argument("-k", metavar="EXPR", default="", help="only points of these cases, engines, GPUs, con8")
    parser.add_argument(
        "--slo",
        nargs="?",
        const=OWN,
        metavar="NAME=MS,...",
        help="limits of ttft, tpot, e2el in ms: ttft=500,tpot=40 (alone: the slo block of each case)",
    )
    parser.add_argument(
        "--percentile",
        choices=STATISTICS,
        default=DEFAULT_STATISTIC,
        help=f"what of a latency is shown and held against a limit (default: {DEFAULT_STATISTIC})",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(func=run)


@reported
def run(options: argparse.Namespace) -> int:
    """Print the table; 5 when there is nothing for it.

    Raises:
        ConfigError: a file of records cannot be read.
        UsageError: a source that is not there, or an expression or limits of the wrong form.
    """
    from pytest_disagg.launch.lists.keyword import parse_keyword
    from pytest_disagg.verdict.latest import newest
    from pytest_disagg.verdict.slo import answers, parse_slo

    slo = None if options.slo in (None, OWN) else parse_slo(options.slo)
    chosen = parse_keyword(options.k)
    found = _named(options, chosen) if options.source else _history(options, chosen)
    if not found:
        where = ", ".join(options.source) or str(folder(options))
        print(f"no records in {where}" + (f" for -k {options.k!r}" if options.k else ""))
        return EXIT_NOTHING
    if options.slo is None:
        _show_points(newest(found), options.percentile, as_json=options.json)
    else:
        _show_answers(answers(found, slo, options.percentile), as_json=options.json)
    return 0


def _history(options: argparse.Namespace, chosen: Predicate) -> list[Mapping[str, Any]]:
    """Of every chosen series what may be its newest point: a history can be larger than memory."""
    import sys

    from pytest_disagg.store.local import LocalHistory
    from pytest_disagg.verdict.latest import names_of, needed

    found: list[Mapping[str, Any]] = []
    with LocalHistory(folder(options), sync_s=float("inf")) as history:
        for note in history.notes:
            print(f"note: {note}", file=sys.stderr)
        for key, _, _ in history.summary():
            if chosen(names_of(key)):
                found += needed(history.series(key))
    return found


def _named(options: argparse.Namespace, chosen: Predicate) -> list[Mapping[str, Any]]:
    from pytest_disagg.cli.running import work_dir
    from pytest_disagg.records import record as records
    from pytest_disagg.report.find import find_run
    from pytest_disagg.verdict.history import SeriesKey
    from pytest_disagg.verdict.latest import names_of

    files: list[Path] = []
    for word in options.source:
        path = Path(word)
        if not path.is_file():
            place = find_run(word, work_dir(options, os.environ))
            below = [each for pattern in RECORDS for each in sorted(place.glob(pattern))]
            if not below:
                raise UsageError(
                    f"{place}: found no records, expected a run that measured something, or a folder of them"
                )
            files += below
        else:
            files.append(path)
    found = [record for path in dict.fromkeys(file.resolve() for file in files) for record in records.read(path)]
    return [record for record in found if chosen(names_of(SeriesKey.of(record)))]


def _show_points(points: Sequence[Latest], statistic: str, *, as_json: bool) -> None:
    latencies = [(f"{statistic}_{name}", f"{name.upper()} {statistic} ms") for name in ("ttft", "tpot", "e2el")]
    columns = [*RATES, *latencies, (STEP, "step p50 ms")]
    if as_json:
        print(json.dumps([_plain(each, [name for name, _ in columns]) for each in points], indent=1))
        return
    titles = (*(title for _, title in columns),)
    rows = [("case", "gpu", "cluster", "group", "tool", "point", *titles, "verdict", "age", "run")]
    low = False
    for each in points:
        cells = []
        for name, _ in columns:
            value = each.point.value(name)
            low = low or (value is not None and name in each.point.low_n)
            cells.append("" if value is None else f"{value:.4g}" + ("*" if name in each.point.low_n else ""))
        rows.append((*_where(each.curve), each.point.label, *cells, _word(each), age(each.created_ms), each.run_id))
    _print(rows)
    if low:
        print("* too few requests for this percentile")


def _show_answers(found: Sequence[Answer], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([each.to_dict() for each in found], indent=1))
        return
    rows = [
        (
            "case",
            "gpu",
            "cluster",
            "group",
            "tool",
            "SLO",
            "highest",
            *(title for _, title in RATES),
            "goodput",
            "age",
            "breaks first",
        )
    ]
    for each in found:
        metrics: Mapping[str, float] = each.best.metrics if each.best else {}
        names = (*(name for name, _ in RATES), "goodput")
        cells = [f"{metrics[name]:.4g}" if name in metrics else "" for name in names]
        best = (each.best.label, *cells, age(each.best.created_ms)) if each.best else ("none", *cells, "")
        rows.append((*_where(each.curve), each.limits or "-", *best, each.breaks))
    _print(rows)
    for each in found:
        for note in each.notes:
            print(f"{each.title}: {note}")


def _where(curve: Any) -> tuple[str, str, str, str, str]:
    case = "/".join(filter(None, (curve.case, curve.server)))
    return case, curve.gpu, curve.cluster, curve.node_group, curve.tool


def _word(each: Latest) -> str:
    first = each.point.first
    return str(first.get("s_verdict") or ("" if each.point.valid else "invalid"))


def _plain(each: Latest, names: Sequence[str]) -> dict[str, Any]:
    values = {name: value for name in names if (value := each.point.value(name)) is not None}
    return {
        **each.curve._asdict(),
        "point": each.point.label,
        "concurrency": each.point.concurrency,
        "metrics": values,
        "too_few_samples": sorted(name for name in values if name in each.point.low_n),
        "verdict": _word(each),
        "valid": each.point.valid,
        "run": each.run_id,
        "created_ms": each.created_ms,
    }


def age(created_ms: int) -> str:
    """How long ago that was, in its largest unit: ``3 d``; empty where the time is not known."""
    if not created_ms:
        return ""
    spent_s = max(time.time() - created_ms / 1000, 0)
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60)):
        if spent_s >= seconds:
            return f"{spent_s // seconds:.0f} {unit}"
    return f"{spent_s:.0f} s"


def _print(rows: Sequence[tuple[str, ...]]) -> None:
    from pytest_disagg.redact import redact

    used = [column for column in range(len(rows[0])) if any(row[column] for row in rows[1:])]
    widths = {column: max(len(row[column]) for row in rows) for column in used}
    for row in rows:
        print(redact("  ".join(row[column].ljust(widths[column]) for column in used).rstrip()))
