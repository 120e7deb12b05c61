"""Commands timed in turns, so that whatever else the machine does falls on all of them alike."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter


@dataclass(frozen=True)
class Command:
    """One thing to time: an argument list, the directory it runs in, and its whole environment."""

    name: str
    argv: Sequence[str]
    cwd: Path
    environ: Mapping[str, str]


def environment(bytecode: Path) -> dict[str, str]:
    """This process's environment without what changes a pytest start; compiled modules are kept under ``bytecode``.

    So neither what this machine has compiled before nor ``PYTHONDONTWRITEBYTECODE`` is part of a result, and nothing is
    written beside the sources.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DISAGG_", "AGG_"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    return {**kept, "PYTHONPYCACHEPREFIX": str(bytecode)}


def output_of(command: Command, *, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a command once; what it printed.

    Raises:
        SystemExit: it failed, with what it said. The time of something else than what was meant is no result.
    """
    try:
        done = subprocess.run(
            command.argv, cwd=command.cwd, env=command.environ, capture_output=True, text=True, timeout=timeout_s
        )
    except subprocess.TimeoutExpired:
        raise SystemExit(f"{command.name}: still running after {timeout_s:g} s") from None
    if done.returncode:
        raise SystemExit(f"{command.name}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done


@dataclass(frozen=True)
class Times:
    """Seconds of each run of one command: on the clock, and of CPU in it and its children."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


def times_of(commands: Sequence[Command], runs: int, *, timeout_s: float) -> dict[str, Times]:
    """Time each command ``runs`` times, after one run of each that only fills caches; by the command's name."""
    times = {command.name: Times() for command in commands}
    for turn in range(runs + 1):
        # Forwards and backwards in turns: the second of two neighbours profits from what the first left in caches.
        for command in commands if turn % 2 else commands[::-1]:
            cpu, start = _children_cpu_s(), perf_counter()
            output_of(command, timeout_s=timeout_s)
            if turn:
                times[command.name].wall_s.append(perf_counter() - start)
                times[command.name].cpu_s.append(_children_cpu_s() - cpu)
    return times


def table(times: Mapping[str, Times]) -> str:
    """One row a command, in milliseconds. CPU far below wall time: the machine was busy with other things."""
    lines = [f"{'ms':<36}{'median':>10}{'min':>10}{'max':>10}{'CPU median':>12}"]
    for name, one in times.items():
        cells = "".join(f"{1000 * value:10.1f}" for value in (median(one.wall_s), min(one.wall_s), max(one.wall_s)))
        lines.append(f"{name:<36}{cells}{1000 * median(one.cpu_s):12.1f}")
    return "\n".join(lines)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
