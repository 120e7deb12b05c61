"""Which GPUs a run holds, since when, and which measurements count."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from pytest_disagg.clients.protocol import LoadResult
from pytest_disagg.config.accuracy_tasks import AccuracyTask
from pytest_disagg.engines.protocol import Engine
from pytest_disagg.engines.sim.engine import SimEngine
from pytest_disagg.engines.trtllm.engine import TrtllmEngine
from pytest_disagg.records.gpu_hours import GpuHours
from pytest_disagg.records.scores import Score
from pytest_disagg.roles.accuracy import Evaluation
from pytest_disagg.roles.gpu_hours import hours_of
from pytest_disagg.roles.points import Point
from pytest_disagg.roles.session import RoleSession
from tests.unit.roles.conftest import LOAD, SessionFactory

JOB = {"DISAGG_JOB_GPUS": "8", "DISAGG_JOB_STARTED": "1000"}
NOW = 4600.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


def point(session: RoleSession, duration_s: float) -> Point:
    result: Any = LoadResult.__new__(LoadResult)
    object.__setattr__(result, "duration_s", duration_s)
    return Point(0, 0, session.case.servers[0], LOAD, 0, result, {})


def on_gpus(session: RoleSession, count: int = 2) -> RoleSession:
    """As a deployment of a real engine, one server of ``count`` GPUs."""
    spec = replace(session.case.servers[0], world_size=count)
    session.case = replace(session.case, servers=(spec,), gpus_per_node=4)
    session.timeline.append(("plan", 2800.0, None))
    return session


def test_in_our_job_all_its_gpus_since_it_began_simulated_or_not(make_session: SessionFactory) -> None:
    session = make_session()
    hours = hours_of(session, "none", JOB, [point(session, 900.0)] * 2, failed=False)
    assert hours == GpuHours(8.0, 0.5)


def test_a_run_that_failed_measured_nothing_useful(make_session: SessionFactory) -> None:
    session = make_session()
    assert hours_of(session, "none", JOB, [point(session, 900.0)], failed=True) == GpuHours(8.0)


def test_an_accuracy_task_is_useful_where_it_gave_scores(make_session: SessionFactory) -> None:
    session = on_gpus(make_session(engine=TrtllmEngine()))
    without = Evaluation(0, (0,), session.case.servers[0], AccuracyTask("gsm8k"), (), "exit code 1", 900.0)
    scored = replace(without, scores=(Score("gsm8k", "exact_match", "none", 0.9),), duration_s=360.0)
    for evaluated, useful in (((without,), 0.0), ((without, scored), 0.2)):
        assert hours_of(session, "h100", {}, [], failed=False, evaluated=evaluated) == GpuHours(1.0, useful)


def test_in_another_job_the_gpus_of_its_nodes(make_session: SessionFactory) -> None:
    session = on_gpus(make_session(engine=TrtllmEngine()))
    slurm = {"DISAGG_SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_START_TIME": "1000"}
    assert hours_of(session, "h100", slurm, [], failed=False) == GpuHours(8.0)
    assert hours_of(session, "h100", {"SLURM_JOB_NUM_NODES": "2"}, [], failed=False) == GpuHours(4.0)


def test_elsewhere_the_gpus_of_the_servers_since_the_run_began(make_session: SessionFactory) -> None:
    session = on_gpus(make_session(engine=TrtllmEngine()))
    assert hours_of(session, "h100", {}, [point(session, 360.0)], failed=False) == GpuHours(1.0, 0.2)


def test_servers_that_run_one_after_another_share_their_gpus(make_session: SessionFactory) -> None:
    session = on_gpus(make_session(engine=TrtllmEngine()))
    servers = session.case.servers
    session.case = replace(session.case, servers=(*servers, replace(servers[0], name="two", world_size=4)))
    hours = hours_of(session, "h100", {}, [], failed=False)
    assert hours == GpuHours(2.0)


@pytest.mark.parametrize(("engine", "gpu"), [(SimEngine(), "h100"), (TrtllmEngine(), "none")])
def test_what_holds_no_gpu_has_no_hours(make_session: SessionFactory, engine: Engine, gpu: str) -> None:
    session = on_gpus(make_session(engine=engine))
    assert hours_of(session, gpu, {}, [point(session, 360.0)], failed=False) is None
