"""What a load asks its client for."""

from __future__ import annotations

import dataclasses
import itertools
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_disagg.clients.dataset import random_prompts
from pytest_disagg.clients.protocol import LoadPoint, LoadResult
from pytest_disagg.clients.vllm_bench import VllmBench
from pytest_disagg.config.blocks import ModelSource
from pytest_disagg.errors import ConfigError, RunError
from pytest_disagg.records.sample import RequestSample
from pytest_disagg.roles import load as load_module
from pytest_disagg.roles.load import PROBE_SHORTEST_S, Loader, check_loads, load_point
from pytest_disagg.roles.planning import Planned
from tests.unit.roles.conftest import LOAD, SessionFactory


def test_a_repeat_is_the_same_work(make_session: SessionFactory) -> None:
    session = make_session()
    ranged = dataclasses.replace(LOAD, random_range_ratio=0.8, iterations=20)

    def lengths(repeat: int) -> list[tuple[int, int]]:
        point = load_point(session, ranged, repeat)
        drawn = random_prompts(point.num_prompts, isl=64, osl=64, range_ratio=0.8, seed=point.seed, variant=str(repeat))
        return [(prompt.tokens, prompt.output_tokens) for prompt in drawn.prompts]

    assert lengths(0) == lengths(1)


def test_a_repeat_of_a_dataset_takes_other_lines(make_session: SessionFactory, tmp_path: Path) -> None:
    session = make_session()
    load = dataclasses.replace(LOAD, dataset_file=tmp_path / "d.jsonl")
    assert load_point(session, load, 0).seed != load_point(session, load, 1).seed


class Late:
    """A client whose load does not end."""

    def measure(self, *_: Any, **__: Any) -> LoadResult:
        raise RunError("the load did not end within 3 s", kind="functional", stage="measure")


@pytest.mark.parametrize(
    ("repeats", "repeat", "label"),
    [(1, 0, "con2"), (3, 1, "con2, repeat 2 of 3"), (3, 3, "con2, measured again (1)")],
)
def test_the_error_of_a_load_says_which_load_and_which_repeat(
    make_session: SessionFactory, monkeypatch: pytest.MonkeyPatch, repeats: int, repeat: int, label: str
) -> None:
    monkeypatch.setattr("pytest_disagg.roles.session.SETTLE_S", 0.0)
    with (
        pytest.raises(RunError, match=rf"^{re.escape(label)}: the load did not end within 3 s$"),
        make_session(client=Late(), repeat=repeats) as session,
    ):
        Loader(session, "http://127.0.0.1:9", list).measure(LOAD, repeat)


def test_a_load_that_its_client_cannot_send_is_found_before_anything_is_deployed(
    make_session: SessionFactory, tmp_path: Path
) -> None:
    (tmp_path / "m").mkdir()
    refused = dataclasses.replace(LOAD, streaming=False)
    for load in (LOAD, dataclasses.replace(refused, only_run_accuracy=True)):
        Planned.of(make_session(load=load, client=VllmBench(), models_root=tmp_path))
    with pytest.raises(ConfigError) as found:
        Planned.of(make_session(load=refused, client=VllmBench()))
    assert [(problem.path, problem.key) for problem in found.value.problems] == [
        (tmp_path / "x.yaml", "metadata.model_name"),
        (tmp_path / "x.yaml", "con2: streaming"),
    ]
    assert "streaming: found false, expected true" in str(found.value)


def test_the_model_of_a_load_may_still_be_fetched(make_session: SessionFactory) -> None:
    session = make_session(client=VllmBench())
    session.case = dataclasses.replace(session.case, model_source=ModelSource(repo="org/m"))
    check_loads(session)


class Starting:
    """A deployment that answers 503; ``limits`` are the times that its requests were given."""

    def __init__(self) -> None:
        self.limits: list[float] = []

    def probe(self, url: str, point: LoadPoint, **_: Any) -> RequestSample:
        self.limits.append(point.request_timeout_s)
        return RequestSample(0, 0, 0, None, None, 0, (), 0, 0, 8, False, 503, "HTTP 503: starting")


def test_an_answer_to_the_probe_is_not_awaited_beyond_the_stage(
    make_session: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, clock = Starting(), itertools.count(0.0, 0.125)
    monkeypatch.setattr(load_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with (
        pytest.raises(RunError, match=r"waited 1 s \(timeouts.probe_s\).*last seen: HTTP 503: starting"),
        make_session(client=client, timeouts={"probe_s": 1.0}) as session,
    ):
        Loader(session, "http://127.0.0.1:9", list).probe(LOAD)
    left_s = (0.875, 0.75, 0.625, 0.5, PROBE_SHORTEST_S)
    assert client.limits[: len(left_s)] == list(left_s[: len(client.limits)])
    assert client.limits[-1] == PROBE_SHORTEST_S
    assert client.limits == sorted(client.limits, reverse=True)
