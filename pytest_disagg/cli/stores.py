"""What ``disagg history`` and ``disagg upload`` share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path

from pytest_disagg.errors import RunError
from pytest_disagg.store.place import history_path

Command = Callable[[argparse.Namespace], int]


def add_history(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--history``."""
    parser.add_argument(
        "--history",
        type=Path,
        metavar="DIR",
        help="records of earlier runs (DISAGG_HISTORY, default: ~/.local/share/pytest-disagg)",
    )


def folder(options: argparse.Namespace) -> Path:
    """The history's folder."""
    return history_path(options.history, os.environ)


def reported(command: Command) -> Command:
    """``command``, with a history or store that cannot be used as an error of kind ``infrastructure``."""

    @wraps(command)
    def run(options: argparse.Namespace) -> int:
        from pytest_disagg.store.protocol import StoreError
        from pytest_disagg.verdict.history import HistoryError

        try:
            return command(options)
        except (HistoryError, StoreError) as error:
            raise RunError(str(error), kind="infrastructure", stage="store") from error

    return run


def seconds(text: str) -> float:
    """An argument that is a number of seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected seconds above 0")
    return value
