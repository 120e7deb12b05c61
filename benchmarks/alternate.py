"""Commands timed in turns, so that whatever else the machine does falls on all of them alike."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter


@dataclass(frozen=True)
class Command:
    """One thing to time: an argument list and the directory it runs in."""

    name: str
    argv: Sequence[str]
    cwd: Path


def seconds_of(commands: Sequence[Command], runs: int, *, timeout_s: float) -> dict[str, list[float]]:
    """Wall time of each command by its name, ``runs`` times each after one run that only warms caches.

    Raises:
        SystemExit: a command failed, with what it printed; a time of something else than what was meant is no result.
    """
    times: dict[str, list[float]] = {command.name: [] for command in commands}
    for turn in range(runs + 1):
        # Forwards and backwards in turns: the second of two neighbours profits from what the first left in caches.
        for command in commands if turn % 2 else commands[::-1]:
            seconds = _timed(command, timeout_s)
            if turn:
                times[command.name].append(seconds)
    return times


def output_of(command: Command, *, timeout_s: float, environ: Mapping[str, str] | None = None) -> tuple[str, str]:
    """What a command prints to standard output and standard error; ends the script where it fails."""
    done = subprocess.run(
        command.argv, cwd=command.cwd, env=environ or clean_environ(), capture_output=True, text=True, timeout=timeout_s
    )
    if done.returncode:
        raise SystemExit(f"{command.name} exited with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout, done.stderr


def clean_environ() -> dict[str, str]:
    """This environment without what would change a pytest start."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DISAGG_", "AGG_"))}


def row(name: str, seconds: Sequence[float], *, unit: str = "s") -> str:
    """A line of the table: median, least and greatest."""
    scale = 1000 if unit == "ms" else 1
    shown = "  ".join(f"{scale * value:9.3f}" for value in (median(seconds), min(seconds), max(seconds)))
    return f"{name:<28}{shown} {unit}"


def head() -> str:
    return f"{'':<28}{'median':>9}  {'min':>9}  {'max':>9}"


def _timed(command: Command, timeout_s: float) -> float:
    start = perf_counter()
    output_of(command, timeout_s=timeout_s)
    return perf_counter() - start
