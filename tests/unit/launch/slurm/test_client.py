"""What Slurm's commands answer, as data; and that a failure of a command is never an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from pytest_disagg.launch.slurm import client
from pytest_disagg.launch.slurm.client import JobState, SlurmError

Answer = Callable[..., list[list[str]]]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """``answer(text)``: every command answers this (an exception is raised); the calls are kept."""

    def prepare(said: str | SlurmError) -> list[list[str]]:
        calls: list[list[str]] = []

        def call(argv: Sequence[str], **more: object) -> str:
            calls.append(list(argv))
            if isinstance(said, SlurmError):
                raise said
            return said

        monkeypatch.setattr(client, "call", call)
        return calls

    return prepare


def test_the_queue(answer: Answer) -> None:
    calls = answer("7|PENDING|Priority||2026-01-01T00:00:00\n8|RUNNING|None|n[1-2]|N/A\n")
    assert client.queue(["7", "8"]) == {
        "7": JobState("7", "PENDING", "Priority", "", "2026-01-01T00:00:00"),
        "8": JobState("8", "RUNNING", "", "n[1-2]", ""),
    }
    assert len(calls) == 1
    assert "--jobs=7,8" in calls[0]


def test_a_forgotten_job_is_no_failure(answer: Answer) -> None:
    answer(SlurmError("squeue failed with exit code 1: slurm_load_jobs error: Invalid job id specified"))
    assert client.queue(["7"]) == {}
    assert client.show_job("7") == {}


def test_a_failure_is_no_answer(answer: Answer) -> None:
    answer(SlurmError("squeue failed with exit code 1: Unable to contact slurm controller"))
    for ask in (lambda: client.queue(["7"]), lambda: client.show_job("7"), lambda: client.accounted("7")):
        with pytest.raises(SlurmError, match="Unable to contact"):
            ask()


def test_accounting(answer: Answer) -> None:
    answer("REQUEUED|n1|0:0\nCANCELLED by 1000|n[1-2]|0:15\n")
    found = client.accounted("7")
    assert found is not None
    assert (found.state, found.cancelled_by, found.nodes, found.over) == ("CANCELLED", "1000", "n[1-2]", True)
    answer("")
    assert client.accounted("7") is None


def test_fields_of_a_job(answer: Answer) -> None:
    answer("JobId=7 JobName=a JobState=RUNNING Reason=None Restarts=1 TimeLimit=00:10:00 ReqB:S:C:T=0:0:*:* Power=\n")
    fields = client.show_job("7")
    assert (fields["JobState"], fields["Restarts"], fields["TimeLimit"]) == ("RUNNING", "1", "00:10:00")


def test_nodes_that_are_not_in_order(answer: Answer) -> None:
    answer("n1|idle|none\nn2|down*|Not responding\nn3|drained|gres/gpu count\nn4|mixed|none\n")
    assert client.node_states("n[1-4]") == {"n2": "down*: Not responding", "n3": "drained: gres/gpu count"}


@pytest.mark.parametrize(
    ("state", "over"),
    [("COMPLETED", True), ("NODE_FAIL", True), ("GONE", True), ("COMPLETING", False), ("REQUEUED", False)],
)
def test_which_states_are_an_end(state: str, over: bool) -> None:
    assert JobState("1", state).over is over


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"StartTime": "2026-11-21T10:00:00", "EndTime": "2026-11-21T10:15:30"}, 930.0),
        ({"StartTime": "2026-11-21T10:00:00", "EndTime": "2026-11-21T10:00:00"}, 0.0),
        ({"StartTime": "Unknown", "EndTime": "2026-11-21T10:00:00"}, None),
        ({}, None),
    ],
)
def test_how_long_a_job_had_its_nodes(fields: dict[str, str], expected: float | None) -> None:
    assert client.held_s(fields) == expected
