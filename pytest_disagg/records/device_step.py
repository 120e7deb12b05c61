"""Device step time of GEN servers from their iteration logs: what gen_only cases are measured on.

The rules are those of TensorRT-LLM's perf-sanity test (the newer, five-statistic generation): per file, rows of the
first iterations and rows after an iteration that scheduled nothing are left out, the batch size that occurs most often
is chosen, and each statistic is averaged over the files. Two things differ. A segment of a log has an end as well as a
start, so that one load never reads the rows of the next; and a log that is not there is an error, not a skip.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev

from pytest_disagg.errors import DisaggError
from pytest_disagg.records.metrics import DEVICE_STEP
from pytest_disagg.records.summary import percentile

FIRST_ITERATION = 5
"""Rows of earlier iterations are warm-up of the engine."""
MAX_ROWS = 500_000
"""Rows kept per file; later ones are left out."""

_ROW = re.compile(rb"iter\s*=\s*(\d+),.*?prev_device_step_time\s*=\s*([\d.]+)\s*ms")
_ITERATION = re.compile(rb"iter\s*=\s*(\d+),")
_SCHEDULED = re.compile(rb"num_scheduled_requests\s*=\s*(\d+)")
_RANK = re.compile(rb"global_rank\s*=\s*(\d+)")
_TOKENS = re.compile(rb"'num_generation_tokens':\s*(\d+)")


class DeviceStepError(DisaggError):
    """The logs do not say what the device step time was; the message has the file and what was found in it."""


@dataclass(frozen=True)
class IterationLog:
    """Bytes ``start`` to ``end`` of a GEN server's log (``end`` None: to its end). Undecodable bytes do no harm."""

    path: Path
    start: int = 0
    end: int | None = None


@dataclass(frozen=True)
class FileSteps:
    """One log's share. ``rows`` were measured, ``used`` of them had the chosen number of generation tokens.

    ``tokens`` is None where no row named it; then all rows are used. ``times_ms`` are the used rows, ascending.
    """

    path: Path
    rows: int
    tokens: int | None
    times_ms: tuple[float, ...]

    @property
    def used(self) -> int:
        return len(self.times_ms)

    def statistics(self) -> dict[str, float]:
        """mean, median, std (sample, 0 below two rows), p75, p99 in ms; only where there are rows."""
        return {
            "mean": fmean(self.times_ms),
            "median": median(self.times_ms),
            "std": stdev(self.times_ms) if self.used > 1 else 0.0,
            "p75": percentile(self.times_ms, 75),
            "p99": percentile(self.times_ms, 99),
        }


@dataclass(frozen=True)
class DeviceSteps:
    """What all logs of one load say; at least one of ``files`` has rows."""

    files: tuple[FileSteps, ...]

    @property
    def empty(self) -> tuple[Path, ...]:
        """Logs without a usable row: servers that did no work in this load, or print no iteration log."""
        return tuple(file.path for file in self.files if not file.used)

    def metrics(self) -> Mapping[str, float]:
        """Metric name -> ms: each statistic per file, then their unweighted mean over the files that have rows."""
        per_file = [file.statistics() for file in self.files if file.used]
        return {f"{name}_{DEVICE_STEP}": fmean(each[name] for each in per_file) for name in per_file[0]}


def parse(logs: Sequence[IterationLog]) -> DeviceSteps:
    """The device step times in these parts of the logs of all GEN servers.

    Raises:
        DeviceStepError: no log was named, a log is missing or shorter than its segment, or none has a usable row.
    """
    if not logs:
        raise DeviceStepError("device step time: no GEN log was named, expected one per GEN server")
    steps = DeviceSteps(tuple(_parse_file(log) for log in logs))
    if len(steps.empty) == len(steps.files):
        places = ", ".join(f"{log.path} bytes {log.start} to {'end' if log.end is None else log.end}" for log in logs)
        rows = sum(file.rows for file in steps.files)
        raise DeviceStepError(
            f"device step time: found {rows} rows with prev_device_step_time, none usable (iter >= {FIRST_ITERATION} "
            f"after an iteration that scheduled requests), in {places}; GEN servers need print_iter_log: true"
        )
    return steps


def _parse_file(log: IterationLog) -> FileSteps:
    rows = 0
    by_tokens: dict[int | None, list[float]] = {}
    kept = 0
    last: dict[bytes | None, tuple[int, bool]] = {}
    for line in _lines(log):
        found = _ITERATION.search(line)
        if found is None:
            continue
        rank_found = _RANK.search(line)
        rank = rank_found[1] if rank_found else None
        iteration = int(found[1])
        idle_before = last.get(rank) == (iteration - 1, True)
        scheduled = _SCHEDULED.search(line, found.end())
        last[rank] = (iteration, scheduled is not None and int(scheduled[1]) == 0)
        row = _ROW.search(line)
        if row is None:
            continue
        rows += 1
        time_ms = _number(row[2])
        if int(row[1]) < FIRST_ITERATION or idle_before or time_ms is None or kept >= MAX_ROWS:
            continue
        kept += 1
        tokens = _TOKENS.search(line)
        by_tokens.setdefault(int(tokens[1]) if tokens else None, []).append(time_ms)
    counted = [(len(times), tokens) for tokens, times in by_tokens.items() if tokens is not None]
    chosen = max(counted)[1] if counted else None
    return FileSteps(log.path, rows, chosen, tuple(sorted(by_tokens.get(chosen, []))))


def _lines(log: IterationLog) -> Iterator[bytes]:
    """The lines of a segment; the last one is cut where the segment ends."""
    try:
        with log.path.open("rb") as file:
            size = file.seek(0, 2)
            end = size if log.end is None else log.end
            if size < end or size < log.start:
                raise DeviceStepError(
                    f"device step time: {log.path} has {size} bytes, expected at least {max(end, log.start)}: it was "
                    "cut while the load ran"
                )
            position = file.seek(log.start)
            for line in file:
                yield line[: end - position]
                position += len(line)
                if position >= end:
                    return
    except FileNotFoundError:
        raise DeviceStepError(f"device step time: {log.path} is not there, expected the log of a GEN server") from None
    except OSError as error:
        raise DeviceStepError(f"device step time: {log.path} cannot be read: {error.strerror or error}") from error


def _number(text: bytes) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
