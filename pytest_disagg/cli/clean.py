"""``disagg clean``: remove old run directories."""

from __future__ import annotations

import argparse
import os
import re

from pytest_disagg.errors import UsageError

UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from pytest_disagg.cli.running import add_work_dir

    parser = subparsers.add_parser("clean", help="remove old run directories")
    add_work_dir(parser)
    parser.add_argument("--keep", type=_count, metavar="N", help="keep the newest N runs")
    parser.add_argument(
        "--older-than",
        type=_seconds,
        metavar="D",
        help="remove only what is older: 90m, 12h, 7d, 2w (a bare number: days)",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would go, remove nothing")
    parser.set_defaults(func=run)


def run(options: argparse.Namespace) -> int:
    """Remove runs that are neither among the newest ``--keep`` nor younger than ``--older-than``; never a running one.
    What `disagg rerun` wrote goes with the runs that were made of it.

    Raises:
        UsageError: neither limit was given, or the work directory is not there.
    """
    import shutil

    from pytest_disagg.cli.running import work_dir
    from pytest_disagg.launch.rerun.stale import stale
    from pytest_disagg.rundir.sweep import candidates, cases_in

    if options.keep is None and options.older_than is None:
        raise UsageError("found neither limit, expected --keep N, --older-than D, or both")
    folder = work_dir(options, os.environ)
    if not folder.is_dir():
        raise UsageError(f"--work-dir: found {folder}, expected a directory")
    older_than_s = options.older_than or 0.0
    going = []
    for candidate in candidates(folder, keep=options.keep or 0, older_than_s=older_than_s):
        if candidate.running:
            print(f"kept {candidate.path}: still running ({candidate.running})")
        else:
            going.append(candidate.path)
    staying = [path for path in folder.iterdir() if path.is_dir() and path not in going and cases_in(path)]
    for path in [*going, *stale(folder, staying, older_than_s=older_than_s)]:
        print(f"{'would remove' if options.dry_run else 'removed'} {path}")
        if not options.dry_run:
            shutil.rmtree(path)
    runs = "1 run" if len(going) == 1 else f"{len(going)} runs"
    print(f"{runs} {'would go' if options.dry_run else 'removed'} from {folder}")
    return 0


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number")
    return int(text)


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number and one of s, m, h, d, w: 12h")
    return float(found[1]) * UNITS_S[found[2] or "d"]
