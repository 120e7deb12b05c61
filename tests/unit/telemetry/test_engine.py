"""An engine's metrics: what changed is kept, secrets are not, and a server without metrics is left alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_disagg.telemetry.engine import GIVE_UP_AFTER, EngineSampler
from pytest_disagg.telemetry.prometheus import MAX_SERIES

SECRET = "hf_" + "a1B2" * 8
URL = "http://h:1/metrics"


def sampler(*answers: tuple[int, str]) -> tuple[EngineSampler, list[str], list[int]]:
    """A sampler of those answers, the last for ever; what it says; how often it asked."""
    said: list[str] = []
    asked = [0]

    def pages() -> Iterator[tuple[int, str]]:
        yield from answers
        while True:
            yield answers[-1]

    left = pages()

    def fetch() -> tuple[int, str]:
        asked[0] += 1
        return next(left)

    return EngineSampler("SERVER_0", URL, fetch, said.append, ["mine"]), said, asked


def test_only_what_changed_is_given() -> None:
    engine, said, _ = sampler((200, "a 1\nb 2\n"), (200, "a 1\nb 3\nc 4\n"), (200, "a 1\nb 3\nc 4\n"))
    readings = [reading for _ in range(3) for reading in engine.sample()]
    assert [dict(reading.values) for reading in readings] == [{"a": 1.0, "b": 2.0}, {"b": 3.0, "c": 4.0}, {}]
    assert {(reading.source, reading.name) for reading in readings} == {("engine", "SERVER_0")}
    assert said == []


def test_labels_are_redacted() -> None:
    engine, _, _ = sampler((200, f'up{{api_key="{SECRET}",model="m"}} 1\n'))
    (reading,) = engine.sample()
    (series,) = reading.values
    assert series.startswith("up{")
    assert SECRET not in series


def test_a_server_without_metrics_is_not_asked_for_ever() -> None:
    engine, said, asked = sampler((404, "Not Found"))
    assert [list(engine.sample()) for _ in range(GIVE_UP_AFTER + 3)] == [[]] * (GIVE_UP_AFTER + 3)
    assert asked == [GIVE_UP_AFTER]
    assert said == [f"no engine metrics: GET {URL}: status 404, {GIVE_UP_AFTER} times; it is not asked again"]


def test_json_is_no_metrics_and_is_named_so() -> None:
    engine, said, _ = sampler((200, '[{"iter": 3}]'))
    for _ in range(GIVE_UP_AFTER):
        assert list(engine.sample()) == []
    assert "no Prometheus text" in said[0]


def test_one_that_gave_metrics_is_asked_on_through_errors() -> None:
    answers = [(200, "a 1\n"), *[(503, "")] * (GIVE_UP_AFTER + 2), (200, "a 2\n")]
    engine, said, asked = sampler(*answers)
    found = [dict(reading.values) for _ in answers for reading in engine.sample()]
    assert found == [{"a": 1.0}, {"a": 2.0}]
    assert asked == [len(answers)]
    assert said == []


def test_too_many_series_are_said_once_and_those_of_records_are_kept() -> None:
    page = "".join(f"x{i} 1\n" for i in range(MAX_SERIES + 2)) + 'mine{a="1"} 4\nvllm:num_requests_running 5\n'
    engine, said, _ = sampler((200, page))
    (reading,) = engine.sample()
    assert reading.values['mine{a="1"}'] == 4
    assert reading.values["vllm:num_requests_running"] == 5
    list(engine.sample())
    assert said == [f"engine metrics of {URL}: {MAX_SERIES + 2} series are kept, 2 are left out"]


def test_a_server_that_does_not_answer_is_named() -> None:
    def fetch() -> tuple[int, str]:
        raise ConnectionRefusedError(111, "Connection refused")

    with pytest.raises(OSError, match=f"GET {URL}: ConnectionRefusedError: .*Connection refused"):
        list(EngineSampler("", URL, fetch, pytest.fail).sample())
