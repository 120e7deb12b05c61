"""What a load asks its client for."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.clients.dataset import random_prompts
from pytest_disagg.clients.protocol import LoadPoint
from pytest_disagg.errors import RunError
from pytest_disagg.records.sample import RequestSample
from pytest_disagg.roles.load import PROBE_SHORTEST_S, Loader, load_point
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


class Starting:
    """A deployment that answers 503; ``limits`` are the times that its requests were given."""

    def __init__(self) -> None:
        self.limits: list[float] = []

    def probe(self, url: str, point: LoadPoint, **_: Any) -> RequestSample:
        self.limits.append(point.request_timeout_s)
        return RequestSample(0, 0, 0, None, None, 0, (), 0, 0, 8, False, 503, "HTTP 503: starting")


def test_an_answer_to_the_probe_is_not_awaited_beyond_the_stage(make_session: SessionFactory) -> None:
    client = Starting()
    with (
        pytest.raises(RunError, match=r"waited 1 s \(timeouts.probe_s\).*last seen: HTTP 503: starting"),
        make_session(client=client, timeouts={"probe_s": 1.0}) as session,
    ):
        Loader(session, "http://127.0.0.1:9", list).probe(LOAD)
    assert client.limits[0] == pytest.approx(1.0, abs=0.2)
    assert client.limits[-1] == PROBE_SHORTEST_S
    assert client.limits == sorted(client.limits, reverse=True)
