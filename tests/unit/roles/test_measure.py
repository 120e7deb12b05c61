"""The files of one load."""

from __future__ import annotations

import json

import pytest

from pytest_disagg.clients.protocol import LoadPoint, LoadResult
from pytest_disagg.records.sample import RequestSample
from pytest_disagg.roles.measure import Measurement
from pytest_disagg.roles.points import Point
from tests.unit.roles.conftest import LOAD, SessionFactory

SECRET = "hf_" + "a1B2" * 8


def point(error: str = "") -> Point:
    done = RequestSample(0, 0.0, 0.0, 0.1, 0.3, 0.3, (0.1, 0.2, 0.3), 8, 3, 8, True, 200)
    failed = RequestSample(1, 0.0, 0.0, None, None, 0.3, (), 8, 0, 8, False, 500, error)
    asked = LoadPoint(2, 2, 8, 8, "m")
    result = LoadResult(asked, 0, (done, failed), 0.3, 0.0, 2.0, 2, None, "native", "1")
    metrics = {"total_requests": 2.0, "failed_requests": 1.0, "mean_ttft": 100.0}
    return Point(0, 0, None, LOAD, 0, result, metrics)


def test_no_file_of_a_load_holds_a_secret_that_an_error_named(
    make_session: SessionFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    session = make_session()
    session.rundir.make()
    Measurement(session)._write(point(f'HTTP 401: "bad" token {SECRET}'))
    texts = [path.read_text() for path in session.rundir.path.rglob("*") if path.is_file()]
    assert len(texts) == 2
    assert all("HTTP 401" in text and SECRET not in text for text in [*texts, capsys.readouterr().out])


def test_a_suspected_load_leaves_all_that_comes_after_it_what_it_was_promised(make_session: SessionFactory) -> None:
    measurement = Measurement(make_session(repeat=3))
    limits = measurement.session.limits
    measurement.deployments = 1
    started = limits.launch_s + limits.ready_s + limits.probe_s
    assert measurement._promised_s() == pytest.approx(limits.total_s - limits.plan_s - started)

    # All three repeats, and one more that a suspicion asked for.
    measurement.points += [point() for _ in range(4)]
    assert measurement._promised_s() == pytest.approx(limits.store_s + limits.stop_s)


def test_the_result_of_a_load_is_json_with_a_list_per_request(make_session: SessionFactory) -> None:
    session = make_session()
    session.rundir.make()
    Measurement(session)._write(point("gone"))
    document = json.loads((session.rundir.results / "load.0.0.r0.json").read_text())
    assert document["itls"] == [pytest.approx([0.1, 0.1]), []]
    assert document["errors"] == ["", "gone"]
    assert document["model_id"] == "m"
