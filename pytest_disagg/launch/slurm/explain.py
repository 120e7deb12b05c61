"""Why a job ended without, or against, what its roles say: Slurm's own data as one sentence. Pure functions."""

from __future__ import annotations

import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_DUE_TO = re.compile(r"\*\*\* JOB (\d+) ON \S+ CANCELLED AT \S+(?: DUE TO ([A-Z][A-Z ]*[A-Z]))?")
SIGNAL_RESOLUTION_S = 60.0
"""Slurm sends ``--signal`` up to a minute earlier than asked."""
RED_STATES = ("BOOT_FAIL", "CANCELLED", "DEADLINE", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")


@dataclass(frozen=True)
class Evidence:
    """What is known about a job's ending.

    ``state`` is Slurm's word; ``fields`` those of ``scontrol show job``; ``bad_nodes`` node -> what Slurm says about
    it; ``log_tail`` the end of the job's own log, where slurmstepd says why it ended the job; ``cancelled_by`` a user
    name or id; ``signaled_at`` when the job script got SIGTERM, ``ends_at`` when its time limit is (epoch seconds).
    """

    job_id: str
    state: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    bad_nodes: Mapping[str, str] = field(default_factory=dict)
    log_tail: str = ""
    cancelled_by: str = ""
    restart: int = 0
    signaled_at: float | None = None
    ends_at: float | None = None
    signal_s: float = 0.0


@dataclass(frozen=True)
class Explanation:
    """``cancelled``: somebody wanted it, nothing broke."""

    text: str
    cancelled: bool = False


def explain(evidence: Evidence) -> Explanation | None:
    """Why Slurm ended the job; None where Slurm had no part in it."""
    job = f"Slurm job {evidence.job_id}"
    state = evidence.state if evidence.state in RED_STATES else ""
    due_to = _due_to(evidence)
    if evidence.signaled_at is None and not state:
        return None
    if state == "NODE_FAIL" or "NODE FAILURE" in due_to or (not state and evidence.bad_nodes):
        return Explanation(f"{job} ended because of a node failure: {_nodes(evidence)}")
    if state == "OUT_OF_MEMORY":
        return Explanation(f"{job} ran out of memory (Slurm's memory limit)")
    if state == "BOOT_FAIL":
        return Explanation(f"{job}: a node did not boot: {_nodes(evidence)}")
    if state == "PREEMPTED" or "PREEMPTION" in due_to:
        return Explanation(f"{job} was preempted by another job")
    if "REQUEUE" in due_to or int(evidence.fields.get("Restarts") or 0) > evidence.restart:
        return Explanation(f"{job} was requeued")
    if state in ("TIMEOUT", "DEADLINE") or "TIME LIMIT" in due_to or _at_the_limit(evidence):
        limit = evidence.fields.get("TimeLimit", "")
        return Explanation(f"{job} reached its time limit" + (f" of {limit}" if limit else ""))
    if state == "CANCELLED" or evidence.fields.get("JobState") in ("CANCELLED", "COMPLETING"):
        by = _user(evidence.cancelled_by)
        return Explanation(f"{job} was cancelled" + (f" by {by}" if by else " (scancel)"), cancelled=True)
    return Explanation(f"{job}: its script was sent SIGTERM")


def _due_to(evidence: Evidence) -> str:
    reasons = [reason for job_id, reason in _DUE_TO.findall(evidence.log_tail) if job_id == evidence.job_id]
    return reasons[-1] if reasons else ""


def _at_the_limit(evidence: Evidence) -> bool:
    """SIGTERM came when ``--signal`` was due, to the script of a job that goes on running."""
    if evidence.signaled_at is None or evidence.ends_at is None or evidence.fields.get("JobState") != "RUNNING":
        return False
    return evidence.signaled_at >= evidence.ends_at - evidence.signal_s - SIGNAL_RESOLUTION_S


def _nodes(evidence: Evidence) -> str:
    if evidence.bad_nodes:
        return ", ".join(f"{node} ({state})" for node, state in evidence.bad_nodes.items())
    return "Slurm does not say which node"


def _user(name: str) -> str:
    if not name.isdecimal():
        return name
    try:
        return f"{pwd.getpwuid(int(name)).pw_name} (uid {name})"
    except KeyError:
        return f"uid {name}"
