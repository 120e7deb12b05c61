"""What ``disagg run`` says about several cases: the plan of a dry run, the table at the end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_disagg.launch.slurm.campaign import Ending, Task

HEADER = ("case", "verdict", "kind", "waited", "ran", "GPU-hours", "nodes", "cause")


def summary(endings: Sequence[Ending]) -> str:
    """A row for each case, then the GPU-hours of all jobs, retries too, and how many ended as what.

    Seconds are as seen from here; a dash where there are none.
    """
    from pytest_disagg.redact import redact

    rows = [HEADER, *(_row(ending) for ending in endings)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]
    return redact("\n".join([*(line.rstrip() for line in lines), "", *_spent(endings), _counts(endings)]))


def selected(tasks: Iterable[Task]) -> str:
    """A line for each case: its id, its markers, where it is named, and why it would not be started."""
    lines = []
    for task in tasks:
        words = [task.name, str(task.markers), f"({task.where})" if task.where else "", task.refusal]
        lines.append("  ".join(filter(None, words)))
    return "\n".join(lines)


def without_a_job(endings: Iterable[Ending]) -> str:
    """A block for each red case that Slurm never had as a job: what it is, and why."""
    from pytest_disagg.redact import redact

    blocks = []
    for ending in endings:
        if ending.code and (ending.result is None or not ending.result.job_id):
            lines = (f"\n{ending.task.name}: {ending.verdict}", *(f"  {line}" for line in ending.cause.splitlines()))
            blocks += [f"{line}\n" for line in lines]
    return redact("".join(blocks))


def all_attempts(endings: Iterable[Ending]) -> str:
    """A line for each case that was played more than once, what all its runs cost: its result is of the last one."""
    from pytest_disagg.records.gpu_hours import GpuHours

    lines = [
        f"{ending.task.name}: GPU-hours of all its runs: {ending.gpu_hours}\n"
        for ending in endings
        if ending.gpu_hours and ending.result and ending.gpu_hours != GpuHours.read(ending.result.gpu_hours)
    ]
    return "".join(lines)


def _row(ending: Ending) -> tuple[str, ...]:
    from pytest_disagg.records.gpu_hours import shown

    times = ending.times
    return (
        ending.task.name,
        ending.verdict,
        ending.kind or "-",
        _seconds(times.waited_s if times else None),
        _seconds(times.run_s if times else None),
        shown(ending.gpu_hours.allocated) if ending.gpu_hours else "-",
        (ending.result.nodes if ending.result else "") or "-",
        ending.cause.partition("\n")[0] or "-",
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"


def _spent(endings: Sequence[Ending]) -> list[str]:
    from pytest_disagg.records.gpu_hours import total

    spent = total(ending.gpu_hours for ending in endings)
    return [f"GPU-hours: {spent}"] if spent else []


def _counts(endings: Sequence[Ending]) -> str:
    red = sum(bool(ending.code) for ending in endings)
    apart = ("skipped", "not started", "xfailed", "xpassed")
    counts = {word: sum(not ending.code and ending.verdict == word for ending in endings) for word in apart}
    counts["quarantined"] = sum(ending.quarantined for ending in endings)
    green = len(endings) - red - sum(counts.values())
    words = [f"{green} green", f"{red} red", *(f"{number} {word}" for word, number in counts.items() if number)]
    number = "1 case" if len(endings) == 1 else f"{len(endings)} cases"
    return f"{number}: {', '.join(words)}"
