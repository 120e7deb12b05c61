"""``disagg history list|show|plot|import|export|rebuild``: the records of earlier runs."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_disagg.cli.stores import add_history, folder, reported, seconds
from pytest_disagg.errors import UsageError

if TYPE_CHECKING:
    from pytest_disagg.records.record import Record
    from pytest_disagg.store.local import LocalHistory
    from pytest_disagg.verdict.history import SeriesKey

EXIT_NOTHING = 5
EXIT_BROKEN = 8
DEFAULT_METRIC = "token_throughput"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "history", help="list, show, plot, import, export the records of earlier runs, or rebuild their index"
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="every series: how many records, and the newest")
    show = actions.add_parser("show", help="the records of a run, or one record")
    plot = actions.add_parser("plot", help="draw a metric over time, one chart a series")
    bring = actions.add_parser("import", help="take in record files, documents of a search index, perf CSVs")
    export = actions.add_parser("export", help="write records as JSON lines, or as the CSV of perf results")
    rebuild = actions.add_parser("rebuild", help="make the index anew from the record files")
    for action in (listing, plot, export):
        action.add_argument("words", nargs="*", metavar="WORD", help="only series that have all of these words")
    show.add_argument("run", metavar="RUN|RECORD", help="a run id, or the beginning of a record's id")
    show.add_argument("--json", action="store_true", help="whole records, one a line")
    plot.add_argument("--metric", default=DEFAULT_METRIC, metavar="NAME", help=f"default: {DEFAULT_METRIC}")
    plot.add_argument("--values", action="store_true", help="also print each value with its run")
    bring.add_argument("files", nargs="*", type=Path, metavar="FILE", help=".jsonl, .json, .yaml, .csv")
    bring.add_argument("--from", dest="store", metavar="STORE", help="all that a store has: opensearch, posting")
    bring.add_argument(
        "--field", action="append", default=[], metavar="NAME=VALUE", help="for records that lack it; repeatable"
    )
    bring.add_argument(
        "--time-limit", type=seconds, default=600.0, metavar="S", help="for reading a store (default: 600)"
    )
    export.add_argument(
        "--out", type=Path, metavar="FILE", help="where to (.csv: the CSV; default: JSON lines, stdout)"
    )
    for action, run in (
        (listing, run_list),
        (show, run_show),
        (plot, run_plot),
        (bring, run_import),
        (export, run_export),
        (rebuild, run_rebuild),
    ):
        add_history(action)
        action.set_defaults(func=run)


def _open(options: argparse.Namespace) -> LocalHistory:
    """The folder's history; what is to be known about it goes to stderr. A command has the time that it needs."""
    from pytest_disagg.store.local import LocalHistory

    opened = LocalHistory(folder(options), sync_s=float("inf"))
    for note in opened.notes:
        print(f"note: {note}", file=sys.stderr)
    return opened


@reported
def run_list(options: argparse.Namespace) -> int:
    """A table of series; 5 when there are none."""
    from pytest_disagg.store.chart import moment

    with _open(options) as history:
        found = [(key, count, newest) for key, count, newest in history.summary() if _has(key, options.words)]
    rows: list[tuple[str, ...]] = [
        ("case", "load", "engine", "gpu", "cluster", "group", "tool", "records", "newest (UTC)")
    ]
    rows += [
        (key.case, _load(key), key.engine, key.gpu, key.cluster, key.node_group, key.tool, str(count), moment(newest))
        for key, count, newest in found
    ]
    if not found:
        print(f"no series in {folder(options)}")
        return EXIT_NOTHING
    _print_table(rows)
    return 0


@reported
def run_show(options: argparse.Namespace) -> int:
    """The points of a run with what gates them, or whole records.

    Raises:
        UsageError: there is no such run or record.
    """
    from pytest_disagg.records.metrics import METRICS, gating
    from pytest_disagg.store.chart import moment, number
    from pytest_disagg.store.documents import identity
    from pytest_disagg.verdict.history import created_ms

    with _open(options) as history:
        found = history.find(run_id=options.run) or history.find(record_id=options.run)
    if not found:
        raise UsageError(f"found no run or record {options.run!r} in {folder(options)}")
    if options.json:
        for record in found:
            print(json.dumps(record, ensure_ascii=False))
        return 0
    for record in found:
        print(f"{record.get('s_case_id', record.get('s_test_list', ''))} con{record.get('l_concurrency', '?')}")
        facts = {
            "record": identity(record),
            "run": record.get("s_run_id", ""),
            "made": f"{moment(created_ms(record))} UTC",
            "commit": f"{record.get('s_commit', '')} {record.get('s_branch', '')}".strip(),
            "where": " ".join(str(record.get(name, "")) for name in ("s_gpu_type", "s_cluster", "s_host_node_name")),
            "verdict": record.get("s_verdict", ""),
        }
        names = gating(record.get("s_benchmark_mode", ""), spec_decoding=record.get("b_eos") is True)  # type: ignore[arg-type]
        for name in names:
            value = record.get(f"d_{name}")
            if isinstance(value, float):
                facts[name] = f"{number(value)} {METRICS[name].unit}"
        for name, value in facts.items():
            if value:
                print(f"  {name}: {value}")
    return 0


@reported
def run_plot(options: argparse.Namespace) -> int:
    """A chart of each series that has the metric; 5 when none has.

    Raises:
        UsageError: an unknown metric.
    """
    from pytest_disagg.records.metrics import metric
    from pytest_disagg.store.chart import chart, moment, number
    from pytest_disagg.verdict.history import nights

    wanted = metric(options.metric)
    width = min(shutil.get_terminal_size((100, 24)).columns, 160)
    drawn = 0
    with _open(options) as history:
        for key, _, _ in history.summary():
            # Every branch: a person asked what was measured, not what is a reference.
            found = nights(history.series(key), wanted.name, "") if _has(key, options.words) else []
            if not found:
                continue
            drawn += 1
            values = [night.value for night in found]
            better = {"larger": "higher is better", "smaller": "lower is better"}.get(wanted.direction, "")
            print(f"{key}\n{wanted.label}, {better}: {len(values)} runs, last {number(values[-1])}")
            print("\n".join(chart(values, width=width)))
            print(f"{moment(found[0].time_ms)} .. {moment(found[-1].time_ms)} UTC\n")
            for night in found if options.values else ():
                print(f"{moment(night.time_ms)}  {number(night.value)}  {night.run_id}  {night.commit[:12]}")
    if not drawn:
        print(f"no series with {wanted.name} in {folder(options)}")
        return EXIT_NOTHING
    return 0


@reported
def run_import(options: argparse.Namespace) -> int:
    """Take records in, each once however often it is imported.

    Raises:
        UsageError: nothing was named to import from, a field of the wrong form, or a store that is not selected.
        ConfigError: a file cannot be read.
    """
    from pytest_disagg.store.importing import completed, read_file

    if bool(options.files) == bool(options.store):
        raise UsageError("disagg history import: name FILEs, or a store with --from")
    fields = _fields(options.field)
    sources = [(str(path), *read_file(path)) for path in options.files]
    if options.store:
        sources = [_store(options.store, options.time_limit)]
    with _open(options) as history:
        for origin, records, notes in sources:
            kept, more = completed(records, fields, origin)
            new = history.take_in(kept)
            for note in (*notes, *more):
                print(f"note: {note}")
            print(f"{origin}: {new} new records, {len(kept) - new} known already")
    return 0


def _store(name: str, limit_s: float) -> tuple[str, list[Record], list[str]]:
    import time

    from pytest_disagg.store import registry
    from pytest_disagg.store.protocol import Wanted

    found = registry.get(name)
    if not found.selected(os.environ):
        raise UsageError(f"disagg history import --from {name}: the environment does not say where it is")
    store = found.open(os.environ)
    return store.where(), list(store.read(Wanted({"b_is_valid": True}), until=time.monotonic() + limit_s)), []


def _fields(given: Sequence[str]) -> dict[str, str]:
    fields = {}
    for item in given:
        name, equals, value = item.partition("=")
        if not equals or not name.startswith(("s_", "l_", "d_", "b_", "ts_")):
            raise UsageError(f"--field: found {item!r}, expected NAME=VALUE, for example s_cluster=lab")
        fields[name] = value
    return fields


@reported
def run_export(options: argparse.Namespace) -> int:
    """Write the records of the chosen series, oldest first."""
    from pytest_disagg.records import legacy_csv
    from pytest_disagg.store.truth import lines_of
    from pytest_disagg.verdict.history import SeriesKey

    with _open(options) as history:
        chosen = (each for each in history.everything() if _has(SeriesKey.of(each), options.words))
        if options.out is None:
            for record in chosen:
                sys.stdout.write(lines_of([record]))
            return 0
        if options.out.suffix == ".csv":
            legacy_csv.write(options.out, list(chosen))
        else:
            _write_lines(options.out, chosen)
    print(f"{options.out}: written")
    return 0


def _write_lines(path: Path, records: Iterable[Record]) -> None:
    from pytest_disagg.store.truth import lines_of

    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            for record in records:
                file.write(lines_of([record]))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UsageError(f"{path}: cannot be written: {error.strerror or error}") from error


@reported
def run_rebuild(options: argparse.Namespace) -> int:
    """Make the index anew; 8 when a record file could not be read.

    Raises:
        UsageError: there is no history, or it cannot be written.
    """
    import sqlite3

    from pytest_disagg.store.local import build

    path = folder(options)
    if not path.is_dir():
        raise UsageError(f"{path} is no directory (--history)")
    try:
        count, broken = build(path)
    except (OSError, sqlite3.Error) as error:
        raise UsageError(f"{path}: the index cannot be written: {error}") from error
    for reason in broken.values():
        print(f"note: not part of the history: {reason}")
    print(f"{path}: {count} records indexed")
    return EXIT_BROKEN if broken else 0


def _has(key: SeriesKey, words: Sequence[str]) -> bool:
    """Whether each word is a value of the key, or part of its case's name."""
    values = {key.case, _load(key), *_load(key).split("/"), f"con{key.concurrency}", key.engine, key.gpu}
    values |= {key.cluster, key.node_group, key.tool}
    return all(word in values or word in key.case for word in words)


def _load(key: SeriesKey) -> str:
    """``<server>/<client>``, with the concurrency where the client's name does not begin with it."""
    con = f"con{key.concurrency}"
    client = key.client if key.client.startswith(con) else "/".join(filter(None, (con, key.client)))
    return "/".join(filter(None, (key.server, client)))


def _print_table(rows: Sequence[tuple[str, ...]]) -> None:
    used = [column for column in range(len(rows[0])) if any(row[column] for row in rows[1:])]
    widths = {column: max(len(row[column]) for row in rows) for column in used}
    for row in rows:
        print("  ".join(row[column].ljust(widths[column]) for column in used).rstrip())
