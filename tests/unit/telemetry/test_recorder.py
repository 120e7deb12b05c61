"""The thread that samples: it keeps what it sees, and nothing that fails in it reaches the role."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from pytest_disagg.telemetry import recorder as module
from pytest_disagg.telemetry.reading import Reading, read
from pytest_disagg.telemetry.recorder import Recorder, Sampler

WAIT_S = 20.0


class Counting:
    """Gives its count, and says when it has been asked ``enough`` times."""

    def __init__(self, enough: int) -> None:
        self.count = 0
        self.enough = enough
        self.reached = threading.Event()

    def sample(self) -> Iterable[Reading]:
        self.count += 1
        if self.count >= self.enough:
            self.reached.set()
        return [Reading("engine", "", {"count": self.count}), Reading("host", "", {"load_1min": self.count})]


class Failing:
    def sample(self) -> Iterable[Reading]:
        raise OSError("no route")


def record(path: Path, prepare: Callable[[], Sequence[tuple[str, Sampler]]], said: list[str]) -> Recorder:
    return Recorder(path, prepare, node="n1", interval_s=0.1, say=said.append)


def test_samples_are_kept_while_the_role_lives(tmp_path: Path) -> None:
    path, said, counting = tmp_path / "results" / "GEN_0.jsonl", [], Counting(3)  # type: ignore[var-annotated]
    with record(path, lambda: [("gen", counting)], said):
        assert counting.reached.wait(WAIT_S)
        first = next(read(path))
        assert (first.node, first.kind) == ("n1", "gen")
    samples = [sample for sample in read(path) if sample.source == "host"]
    assert [sample.values["load_1min"] for sample in samples][:2] == [1, 2]
    assert all(later.monotonic_s > sooner.monotonic_s for sooner, later in pairwise(samples))
    assert said == []


def test_a_sampler_that_fails_is_said_once_and_the_others_go_on(tmp_path: Path) -> None:
    path, said, counting = tmp_path / "x.jsonl", [], Counting(3)  # type: ignore[var-annotated]
    with record(path, lambda: [("gen", Failing()), ("gen", counting)], said):
        assert counting.reached.wait(WAIT_S)
    assert said == ["telemetry: Failing: OSError: no route"]
    assert len(list(read(path))) >= 4


def test_what_fails_outside_of_a_sampler_is_said_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def append(path: Path, samples: object) -> int:
        raise ValueError("surprise")

    def say(text: str) -> None:
        said.append(text)
        over.set()

    said: list[str] = []
    monkeypatch.setattr(module, "append", append)
    with Recorder(tmp_path / "x.jsonl", lambda: [("gen", Counting(1))], node="n", interval_s=0.1, say=say):
        assert over.wait(WAIT_S)
    assert said == ["telemetry: no more samples: ValueError: surprise"]


def test_samplers_that_cannot_be_made_are_said(tmp_path: Path) -> None:
    said: list[str] = []
    asked = threading.Event()

    def prepare() -> Sequence[tuple[str, Sampler]]:
        raise RuntimeError("driver")

    def say(text: str) -> None:
        said.append(text)
        asked.set()

    with Recorder(tmp_path / "x.jsonl", prepare, node="n", interval_s=0.1, say=say):
        assert asked.wait(WAIT_S)
    assert said == ["telemetry: no more samples: RuntimeError: driver"]


def test_a_file_that_cannot_be_written_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").mkdir()
    said: list[str] = []
    counting = Counting(3)
    with record(tmp_path / "x.jsonl", lambda: [("gen", counting)], said):
        assert counting.reached.wait(WAIT_S)
    assert said == [f"telemetry: {tmp_path / 'x.jsonl'}: Is a directory"]


def test_a_file_that_is_full_keeps_all_but_engine_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 1)
    said: list[str] = []
    counting = Counting(3)
    with record(tmp_path / "x.jsonl", lambda: [("gen", counting)], said):
        assert counting.reached.wait(WAIT_S)
    kept = [sample.source for sample in read(tmp_path / "x.jsonl", {"count"})]
    assert kept.count("engine") == 1
    assert kept.count("host") >= 2
    assert len(said) == 1
    assert "engine metrics are no longer kept" in said[0]


def test_a_sampler_that_hangs_does_not_keep_the_role_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STOP_TIMEOUT_S", 0.01)
    release, hanging = threading.Event(), threading.Event()
    said: list[str] = []

    class Hanging:
        def sample(self) -> Iterable[Reading]:
            hanging.set()
            release.wait(WAIT_S)
            raise OSError("gone")

    with record(tmp_path / "hanging.jsonl", lambda: [("gen", Hanging())], said):
        assert hanging.wait(WAIT_S)
        (thread,) = (each for each in threading.enumerate() if each.name == "disagg-telemetry-hanging")
    assert thread.is_alive()
    release.set()
    thread.join(WAIT_S)
    assert not thread.is_alive()
    # The role that it would tell is over, its log closed.
    assert said == []
