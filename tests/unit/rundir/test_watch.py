from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pytest_disagg.rundir.files import to_json, write_text
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.rundir.state import Failure, RoleState
from pytest_disagg.rundir.watch import Watch, cause_of


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def rundir(tmp_path: Path) -> RunDir:
    found = RunDir.of(tmp_path, "run", "case")
    found.make()
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watch(rundir: RunDir, clock: Clock) -> Watch:
    return Watch(rundir, ["GEN_0", "CTX_0"], heartbeat_timeout_s=10, clock=clock)


def publish(rundir: RunDir, state: RoleState) -> None:
    write_text(rundir.role(state.role), to_json(state.to_dict()))


def failure(role: str, stage: str = "measure", because_of: str | None = None) -> Failure:
    return Failure(role, "functional", stage, f"{role} broke", because_of=because_of, evidence=("a", "b"))


def test_a_role_that_did_not_start_yet_is_no_failure(watch: Watch) -> None:
    assert watch.failures() == []


def test_what_a_failed_role_says_is_read_back_whole(rundir: RunDir, watch: Watch) -> None:
    said = dataclasses.replace(failure("GEN_0"), exit_code=3, dump_stacks=True)
    publish(rundir, RoleState("GEN_0", state="failed", failure=said))
    assert watch.failures() == [said]


def test_a_role_killed_without_a_word_is_known_by_its_exit_file(rundir: RunDir, watch: Watch) -> None:
    publish(rundir, RoleState("CTX_0", state="ready", stage="ready", beat=4))
    write_text(rundir.exit("CTX_0"), '{"role": "CTX_0", "exit_code": null, "signal": "SIGKILL", "reason": ""}')
    (found,) = watch.failures()
    assert (found.role, found.kind, found.signal, found.stage) == ("CTX_0", "infrastructure", "SIGKILL", "ready")
    assert "killed by SIGKILL without a word" in found.message


def test_a_leader_that_was_stopped_names_the_rank_that_ended(rundir: RunDir, watch: Watch) -> None:
    publish(rundir, RoleState("GEN_0", state="ready", stage="ready", beat=4))
    reason = "rank 1 of this step ended: killed by SIGKILL"
    text = '{"role": "GEN_0", "exit_code": null, "signal": "SIGTERM", "reason": "%s"}'
    write_text(rundir.exit("GEN_0"), text % reason)
    (found,) = watch.failures()
    assert found.message == f"{reason} (its leader was stopped)"
    assert (found.kind, found.signal) == ("infrastructure", "SIGTERM")


def test_a_role_that_ended_before_it_started_shows_its_log(rundir: RunDir, watch: Watch) -> None:
    rundir.pytest_log("GEN_0").write_text("ERROR: no such option\n")
    write_text(rundir.exit("GEN_0"), '{"role": "GEN_0", "exit_code": 4, "signal": null, "reason": ""}')
    (found,) = watch.failures()
    assert "exit code 4 before it started" in found.message
    assert found.evidence == ("ERROR: no such option",)


def test_a_role_that_could_not_start_says_why_in_its_report(rundir: RunDir, watch: Watch) -> None:
    write_text(rundir.exit("GEN_0"), '{"role": "GEN_0", "exit_code": 1, "signal": null, "reason": ""}')
    message = "infrastructure: --disagg-interface: &apos;n1&apos; does not resolve&#10;more"
    rundir.junit("GEN_0").write_text(f'<testsuites><testcase><failure message="{message}"/></testcase></testsuites>')
    (found,) = watch.failures()
    assert found.message == (
        "its process ended with exit code 1 before it started: --disagg-interface: 'n1' does not resolve"
    )
    publish(rundir, RoleState("GEN_0", state="ready", stage="ready"))
    (found,) = watch.failures()
    assert found.message == "its process ended with exit code 1 without a word"


@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_an_exit_file_of_a_role_that_ended_in_order_says_nothing(rundir: RunDir, watch: Watch, state: str) -> None:
    publish(rundir, RoleState("GEN_0", state=state))  # type: ignore[arg-type]
    write_text(rundir.exit("GEN_0"), '{"role": "GEN_0", "exit_code": 0, "signal": null, "reason": ""}')
    assert watch.failures() == []


def test_a_beat_that_stands_still_is_a_vanished_role(rundir: RunDir, watch: Watch, clock: Clock) -> None:
    publish(rundir, RoleState("GEN_0", state="ready", beat=7, pid=11, node="n1"))
    assert watch.failures() == []
    clock.now += 9.9
    assert watch.failures() == []
    clock.now += 0.1
    (found,) = watch.failures()
    assert found.kind == "infrastructure"
    assert "stood still at 7" in found.message
    assert "pid 11 on n1" in found.message


def test_a_growing_beat_is_a_living_role(rundir: RunDir, watch: Watch, clock: Clock) -> None:
    for beat in range(5):
        publish(rundir, RoleState("GEN_0", state="ready", beat=beat))
        assert watch.failures() == []
        clock.now += 9


def test_a_stopped_role_need_not_beat(rundir: RunDir, watch: Watch, clock: Clock) -> None:
    publish(rundir, RoleState("GEN_0", state="stopped", beat=7))
    assert watch.failures() == []
    clock.now += 100
    assert watch.failures() == []


def test_the_cause_blames_nobody_and_is_the_earliest_stage() -> None:
    follower = failure("CTX_0", stage="launch", because_of="GEN_0")
    late, early = failure("GEN_1", stage="measure"), failure("GEN_0", stage="ready")
    assert cause_of([follower, late, early]) == early
    assert cause_of([follower]) == follower
    assert cause_of([]) is None


def test_a_state_survives_the_file() -> None:
    state = RoleState("GEN_0", timeline=(("launch", 1.0, 2.0), ("ready", 2.0, None)), failure=failure("GEN_0"))
    assert RoleState.from_dict(state.to_dict()) == state
