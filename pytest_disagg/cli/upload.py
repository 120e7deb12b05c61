"""``disagg upload``: send to the stores what they do not have yet."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_disagg.cli.stores import add_history, folder, reported, seconds
from pytest_disagg.errors import UsageError

if TYPE_CHECKING:
    from pytest_disagg.records.record import Record
    from pytest_disagg.store.spool import Spool

EXIT_INCOMPLETE = 8


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser("upload", help="send to the stores what they do not have yet")
    parser.add_argument(
        "records", nargs="*", type=Path, metavar="RECORDS", help="record files to send besides what is spooled"
    )
    add_history(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would be sent, send nothing")
    parser.add_argument(
        "--time-limit", type=seconds, default=600.0, metavar="S", help="give up after that time (default: 600)"
    )
    parser.set_defaults(func=run)


@reported
def run(options: argparse.Namespace) -> int:
    """Send the spool of every selected store; 0 when nothing is left, 8 when something is.

    Raises:
        UsageError: no store is selected.
        ConfigError: a record file cannot be read.
    """
    import time

    from pytest_disagg.store import registry
    from pytest_disagg.store.spool import Spool
    from pytest_disagg.store.upload import flush

    path = folder(options)
    stores = registry.selected(os.environ)
    if not stores:
        raise UsageError(f"no store is selected: set one of {', '.join(registry.VARIABLES)}")
    named = _named(options.records)
    if options.dry_run:
        for store in stores:
            where = registry.get(store).open(os.environ).where()
            for name, count in (*_spooled(Spool.of(path, store)), *((name, len(found)) for name, found in named)):
                print(f"{store}: would send {name} ({count} records) to {where}")
        return 0
    for store in stores:
        for name, found in named:
            Spool.of(path, store).put(name, found)
    done = flush(path, os.environ, until=time.monotonic() + options.time_limit)
    for line in done.lines():
        print(line)
    return 0 if done.ok else EXIT_INCOMPLETE


def _named(paths: list[Path]) -> list[tuple[str, list[Record]]]:
    """Spool names and what belongs there of each file."""
    from pytest_disagg.records.record import read
    from pytest_disagg.store.truth import belongs, imported_name

    found = []
    for path in paths:
        records = [record for record in read(path) if belongs(record)]
        if records:
            found.append((imported_name(records), records))
        else:
            print(f"{path}: nothing to upload (no valid record that is not of a rehearsal)")
    return found


def _spooled(spool: Spool) -> list[tuple[str, int]]:
    from pytest_disagg.records.record import read

    return [(path.name, len(read(path))) for path in spool.pending()]
