"""What a rank reads about the others: exit files at once, still beats by its own clock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.rundir.watch import Watch as RunWatch
from pytest_disagg.wrapper import roles
from pytest_disagg.wrapper.roles import RoleFiles, Stillness, Watch
from pytest_disagg.wrapper.step import Step
from pytest_disagg.wrapper.supervise import Ended, Stop


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def step(folder: Path, rank: int, tasks: int = 3, role: str = "GEN_0") -> Step:
    numbers = {"SLURM_PROCID": str(rank), "SLURM_NTASKS": str(tasks)}
    return Step.of({**numbers, "DISAGG_SERVING_TYPE": role, "DISAGG_RUN_DIR": str(folder)})


def files(folder: Path, rank: int, role: str = "GEN_0") -> RoleFiles:
    found = RoleFiles(step(folder, rank, role=role))
    found.make()
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_exit_file_is_what_the_run_directory_reads(tmp_path: Path) -> None:
    files(tmp_path, 0).write_ended(Ended(None, 9, "x"))
    failure = RunWatch(RunDir(tmp_path), ["GEN_0"], heartbeat_timeout_s=10).failure_of("GEN_0")
    assert failure is not None
    assert (failure.signal, failure.exit_code) == ("SIGKILL", None)


def test_an_exit_file_is_written_once(tmp_path: Path) -> None:
    files(tmp_path, 0).write_exit(7, None, "first")
    files(tmp_path, 0).write_exit(1, None, "second")
    said = json.loads((tmp_path / "roles/GEN_0.exit.json").read_text())
    assert said == {"role": "GEN_0", "exit_code": 7, "signal": None, "reason": "first"}


def test_names_of_the_files(tmp_path: Path) -> None:
    files(tmp_path, 2).write_exit(0, None, "")
    files(tmp_path, 2).beat()
    files(tmp_path, 0, role="").write_exit(0, None, "")
    names = {path.name for path in (tmp_path / "roles").iterdir()}
    assert names == {"GEN_0.2.exit.json", "GEN_0.2.json", "BENCHMARK.exit.json"}


def test_rank_0_stops_when_another_rank_failed(tmp_path: Path, clock: Clock) -> None:
    watch = Watch(files(tmp_path, 0), step(tmp_path, 0), 10, clock)
    files(tmp_path, 1).write_exit(0, None, "")
    assert watch.tick() is None
    files(tmp_path, 2).write_exit(7, None, "out of memory")
    assert watch.tick() == Stop("rank 2 of this step ended: exit code 7 (out of memory)", on_purpose=False)


def test_rank_0_stops_when_another_rank_vanished(tmp_path: Path, clock: Clock) -> None:
    watch = Watch(files(tmp_path, 0), step(tmp_path, 0), 10, clock)
    first, second = files(tmp_path, 1), files(tmp_path, 2)
    for _ in range(4):
        first.beat()
        second.beat()
        assert watch.tick() is None
        clock.now += 6
    second.beat()
    clock.now += 6
    assert watch.tick() == Stop("rank 1 of this step vanished: its beat stood still for 12 s", on_purpose=False)


def test_another_rank_has_a_while_after_rank_0_ended_and_its_stop_is_no_failure(tmp_path: Path, clock: Clock) -> None:
    watch = Watch(files(tmp_path, 1), step(tmp_path, 1), 10, clock)
    files(tmp_path, 0).write_exit(0, None, "")
    assert watch.tick() is None
    clock.now += roles.AFTER_END_S + 1
    assert watch.tick() == Stop("rank 0 of this step has ended", on_purpose=True)


@pytest.mark.parametrize(
    ("role", "stops"), [("GEN_0", True), ("DISAGG_SERVER", True), ("BENCHMARK", False), ("", False)]
)
def test_a_server_has_a_minute_after_the_outcome(tmp_path: Path, clock: Clock, role: str, stops: bool) -> None:
    watch = Watch(files(tmp_path, 0, role), step(tmp_path, 0, tasks=1, role=role), 10, clock)
    assert watch.tick() is None
    (tmp_path / "outcome.json").write_text("{}")
    assert watch.tick() is None
    clock.now += roles.AFTER_OUTCOME_S + 1
    assert watch.tick() == (Stop("the run is over", on_purpose=True) if stops else None)


def test_rank_0_blames_the_rank_that_failed_by_itself(tmp_path: Path) -> None:
    watch = Watch(files(tmp_path, 0), step(tmp_path, 0), 10)
    assert watch.first_to_blame() == ""
    files(tmp_path, 1).write_exit(None, 15, "stopped by SIGTERM")
    assert watch.first_to_blame() == ""
    files(tmp_path, 2).write_exit(None, 9, "")
    assert watch.first_to_blame() == "rank 2 of this step ended: killed by SIGKILL"


def test_a_beat_that_never_came_stands_still(tmp_path: Path) -> None:
    clock = Clock()
    beat = Stillness(tmp_path / "x.json", 10, clock)
    clock.now += 10
    assert beat.still_for() is None
    clock.now += 1
    assert beat.still_for() == 11


def test_without_a_run_directory_nothing_is_written_and_nobody_is_watched() -> None:
    alone = Step.of({"SLURM_NTASKS": "4"})
    found = RoleFiles(alone)
    found.beat()
    found.write_exit(1, None, "x")
    assert not found.known
    assert Watch(found, alone, 10).tick() is None
