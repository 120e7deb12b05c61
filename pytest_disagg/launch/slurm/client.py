"""Slurm's commands, each called with a list of arguments, answering with data. A failure is an exception."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pytest_disagg.errors import DisaggError, UsageError

TIMEOUT_S = 30.0
TERMINAL = frozenset(
    ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")
)
GONE = "GONE"
"""The state of a job that slurmctld has forgotten and that no accounting knows."""

_QUEUE_FIELDS = "%i|%T|%r|%N|%S"
_UNKNOWN_JOB = "Invalid job id specified"
_FIELD = re.compile(r"(?:^|\s)([A-Za-z][A-Za-z0-9:/_]*)=(\S*)")


class SlurmError(DisaggError):
    """A command of Slurm failed or did not answer: nothing is known from it."""


@dataclass(frozen=True)
class JobState:
    """A job as Slurm last described it. ``reason`` is why it waits, ``start`` when it will start, where known."""

    job_id: str
    state: str
    reason: str = ""
    nodes: str = ""
    start: str = ""
    cancelled_by: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        return self.state in TERMINAL or self.state == GONE


def require(*programs: str) -> None:
    """Raises:
    UsageError: a command of Slurm is not on this machine.
    """
    absent = [program for program in programs if shutil.which(program) is None]
    if absent:
        raise UsageError(f"{', '.join(absent)} not found: no Slurm client on this machine (a login node has one)")


def call(
    argv: Sequence[str],
    *,
    timeout_s: float = TIMEOUT_S,
    env: Mapping[str, str] | None = None,
    allowed: Sequence[int] = (0,),
) -> str:
    """Standard output of a command.

    Raises:
        SlurmError: it cannot be started, ended with a code that is not ``allowed``, or did not answer in time; the
            message has what it said.
    """
    # Times and lists in one known form, whatever the user's environment asks for.
    environment = {**(os.environ if env is None else env), "SLURM_TIME_FORMAT": "standard", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=timeout_s, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{argv[0]} did not answer within {timeout_s:g} s") from None
    except OSError as error:
        raise SlurmError(f"{argv[0]}: {error.strerror or error}") from error
    if done.returncode not in allowed:
        said = done.stderr.strip() or done.stdout.strip() or "nothing"
        raise SlurmError(f"{argv[0]} failed with exit code {done.returncode}: {said}")
    return done.stdout


def queue(job_ids: Iterable[str]) -> dict[str, JobState]:
    """All the given jobs that slurmctld still knows, ended ones too, with one call of squeue.

    Raises:
        SlurmError: slurmctld did not answer; nothing is known about any job.
    """
    try:
        text = call(
            ["squeue", "--noheader", "--states=all", f"--jobs={','.join(job_ids)}", f"--format={_QUEUE_FIELDS}"]
        )
    except SlurmError as error:
        # What squeue answers for one job that is forgotten; for several it leaves those out.
        if _UNKNOWN_JOB in str(error):
            return {}
        raise
    found: dict[str, JobState] = {}
    for line in text.splitlines():
        job_id, state, reason, nodes, start = line.split("|", 4)
        found[job_id] = JobState(
            job_id, state, "" if reason == "None" else reason, nodes, "" if start == "N/A" else start
        )
    return found


def show_job(job_id: str) -> dict[str, str]:
    """The fields of ``scontrol show job``; empty where slurmctld has forgotten it.

    Raises:
        SlurmError: slurmctld did not answer.
    """
    try:
        text = call(["scontrol", "--oneliner", "show", "job", job_id])
    except SlurmError as error:
        if _UNKNOWN_JOB in str(error):
            return {}
        raise
    return dict(_FIELD.findall(text))


def held_s(fields: Mapping[str, str]) -> float | None:
    """Seconds for which a job that is over had its nodes, by its :func:`show_job`; None where they do not say."""
    try:
        begin, end = (datetime.fromisoformat(fields[name]) for name in ("StartTime", "EndTime"))
    except (KeyError, ValueError):
        return None
    return max((end - begin).total_seconds(), 0.0)


def accounted(job_id: str) -> JobState | None:
    """The job as accounting has it; None where it has not (yet).

    Raises:
        SlurmError: no accounting on this cluster, or slurmdbd did not answer.
    """
    text = call(
        ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job_id}", "--format=State,NodeList,ExitCode"]
    )
    # A requeued job has a line for each start: the last one counts.
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    words, nodes, exit_code = lines[-1].split("|", 2)
    state, _, by = words.partition(" by ")
    return JobState(job_id, state.rstrip("+"), nodes=nodes, cancelled_by=by, fields={"ExitCode": exit_code})


def node_states(nodes: str) -> dict[str, str]:
    """Node -> ``state: reason`` of the nodes that are not in order.

    Raises:
        SlurmError: slurmctld did not answer.
    """
    text = call(["sinfo", "--noheader", "--Node", f"--nodes={nodes}", "--format=%N|%T|%E"])
    found: dict[str, str] = {}
    for line in text.splitlines():
        node, state, reason = line.split("|", 2)
        if any(word in state for word in ("down", "drain", "fail", "unk")):
            found[node] = state if reason in ("none", "") else f"{state}: {reason}"
    return found


def cancel(job_ids: Sequence[str]) -> None:
    """Cancel jobs. Those that have ended already are no error.

    Raises:
        SlurmError: slurmctld did not take it.
    """
    call(["scancel", "--quiet", *job_ids])
