"""Waiting for what servers need: who waits how long, and what it says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_disagg.config.case import Case
from pytest_disagg.engines.protocol import Launch, Seen, ServiceRequest
from pytest_disagg.engines.sim.engine import SimEngine
from pytest_disagg.errors import RunError, UsageError
from pytest_disagg.process.child import Exit
from pytest_disagg.roles.children import ServerProcess
from pytest_disagg.roles.services import scratch, start_services, wait_for_services
from tests.unit.roles.conftest import SessionFactory


class Leaning(SimEngine):
    def services(self, case: Case) -> tuple[str, ...]:
        return ("first", "second")

    def service(self, request: ServiceRequest) -> Launch:
        return Launch((sys.executable,), address=f"{request.name}:1")

    def service_healthy(self, name: str, address: str, timeout_s: float) -> Seen:
        return Seen(name == "first", f"{address} says nothing")


def test_one_that_does_not_answer_is_named(
    make_session: SessionFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session(engine=Leaning(), timeouts={"launch_s": 1})
    monkeypatch.setattr(session, "start", lambda server: None)
    with session, pytest.raises(RunError) as raised:
        start_services(session, str(tmp_path))
    assert (
        raised.value.message == "waited 1 s (timeouts.launch_s) for second to answer; last seen: second:1 says nothing"
    )
    assert (raised.value.kind, raised.value.stage) == ("infrastructure", "launch")


def test_nobody_waits_where_there_are_none(make_session: SessionFactory) -> None:
    assert wait_for_services(make_session(), "DISAGG_SERVER") == {}


def test_one_that_ends_is_the_fault_of_no_server(
    make_session: SessionFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, started = make_session(engine=Leaning(), timeouts={"launch_s": 0.2}), list[ServerProcess]()
    monkeypatch.setattr(session, "start", started.append)
    with session, pytest.raises(RunError):
        start_services(session, str(tmp_path))
    assert {each.died(Exit(1, None), "launch").kind for each in started} == {"infrastructure"}


def test_a_folder_is_made_where_there_is_something_to_put_into_it(
    make_session: SessionFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with scratch(make_session().options):
        assert list(tmp_path.glob("disagg-services-*")) == []
    with scratch(make_session(engine=Leaning()).options) as folder:
        (found,) = tmp_path.glob("disagg-services-r-*")
        assert str(found) == folder
    assert list(tmp_path.glob("disagg-services-*")) == []


def test_an_engine_without_services_refuses_one(tmp_path: Path, make_session: SessionFactory) -> None:
    case = make_session().case
    request = ServiceRequest(case, "etcd", "127.0.0.1", tmp_path, tmp_path, tmp_path / "address")
    with pytest.raises(UsageError, match="engine sim has no service 'etcd'"):
        SimEngine().service(request)
