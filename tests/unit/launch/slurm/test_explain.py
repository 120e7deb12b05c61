"""Slurm's data about a job's end as one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_disagg.launch.slurm.explain import Evidence, explain

LINE = "slurmstepd-n1: error: *** JOB {job} ON n1 CANCELLED AT 2026-01-01T00:00:00{why} ***"


def text(**known: Any) -> str:
    found = explain(Evidence("7", **known))
    assert found is not None
    return found.text


@pytest.mark.parametrize("state", ["", "COMPLETED", "FAILED", "RUNNING"])
def test_a_job_that_slurm_did_not_end_has_no_explanation(state: str) -> None:
    assert explain(Evidence("7", state=state)) is None


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({"state": "TIMEOUT", "fields": {"TimeLimit": "00:10:00"}}, "Slurm job 7 reached its time limit of 00:10:00"),
        ({"state": "NODE_FAIL", "bad_nodes": {"n2": "down*: pulled"}}, "node failure: n2 (down*: pulled)"),
        ({"state": "NODE_FAIL"}, "node failure: Slurm does not say which node"),
        ({"state": "OUT_OF_MEMORY"}, "ran out of memory"),
        ({"state": "PREEMPTED"}, "was preempted"),
        ({"state": "BOOT_FAIL", "bad_nodes": {"n2": "down"}}, "did not boot: n2 (down)"),
        ({"state": "CANCELLED"}, "was cancelled (scancel)"),
        ({"state": "CANCELLED", "cancelled_by": "0"}, "was cancelled by root (uid 0)"),
        ({"state": "CANCELLED", "cancelled_by": "4294967"}, "was cancelled by uid 4294967"),
    ],
)
def test_from_the_final_state(known: dict[str, Any], expected: str) -> None:
    assert expected in text(**known)


@pytest.mark.parametrize(
    ("why", "fields", "expected"),
    [
        (" DUE TO TIME LIMIT", {}, "reached its time limit"),
        (" DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS", {}, "node failure"),
        (" DUE TO PREEMPTION", {}, "was preempted"),
        (" DUE TO JOB REQUEUE", {}, "was requeued"),
        ("", {"JobState": "COMPLETING"}, "was cancelled"),
        ("", {"JobState": "COMPLETING", "Restarts": "1"}, "was requeued"),
        ("", {"JobState": "RUNNING"}, "its script was sent SIGTERM"),
    ],
)
def test_from_inside_the_job(why: str, fields: dict[str, str], expected: str) -> None:
    assert expected in text(signaled_at=100.0, log_tail=LINE.format(job=7, why=why), fields=fields)


def test_another_jobs_line_explains_nothing() -> None:
    found = text(signaled_at=1.0, log_tail=LINE.format(job=8, why=" DUE TO TIME LIMIT"), fields={"JobState": "RUNNING"})
    assert "its script was sent SIGTERM" in found


@pytest.mark.parametrize(("signaled_at", "expected"), [(935.0, "time limit"), (934.0, "sent SIGTERM")])
def test_the_signal_before_the_limit_may_come_a_minute_early(signaled_at: float, expected: str) -> None:
    found = text(signaled_at=signaled_at, ends_at=1000.0, signal_s=5.0, fields={"JobState": "RUNNING"})
    assert expected in found


def test_only_a_cancelled_job_was_wanted() -> None:
    cancelled, failed = explain(Evidence("7", state="CANCELLED")), explain(Evidence("7", state="TIMEOUT"))
    assert cancelled is not None
    assert failed is not None
    assert (cancelled.cancelled, failed.cancelled) == (True, False)


def test_a_restart_in_the_past_is_no_requeue_now() -> None:
    assert "was cancelled" in text(signaled_at=1.0, restart=1, fields={"JobState": "COMPLETING", "Restarts": "1"})
