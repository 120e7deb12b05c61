"""Who samples what, and what of it reaches records and outcome."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.clients.protocol import LoadResult
from pytest_disagg.config.blocks import Telemetry
from pytest_disagg.engines import http
from pytest_disagg.engines.protocol import Launch
from pytest_disagg.engines.sim.engine import SimEngine
from pytest_disagg.roles import sampling
from pytest_disagg.roles.children import ServerProcess
from pytest_disagg.roles.points import Point
from pytest_disagg.roles.sampling import sampled
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.roles.telemetry import Joined, joined
from pytest_disagg.rundir.writer import node_name
from pytest_disagg.telemetry import gpu
from pytest_disagg.telemetry.engine import EngineSampler
from pytest_disagg.telemetry.host import HostSampler, ProcessSampler
from pytest_disagg.telemetry.join import join
from pytest_disagg.telemetry.notes import Note
from pytest_disagg.telemetry.prometheus import MAX_SERIES
from pytest_disagg.telemetry.reading import Sample, append, path_of, windows_of
from tests.unit.roles.conftest import LOAD, SessionFactory

STARTED_S = 500.0


def with_telemetry(session: RoleSession) -> RoleSession:
    session.case = replace(session.case, telemetry=Telemetry())
    session.rundir.make()
    return session


def with_server(
    session: RoleSession,
    role: str,
    tmp_path: Path,
    env: dict[str, str] | None = None,
    *,
    name: str = "server 0",
    port: int = 1,
) -> RoleSession:
    """As a role whose server runs: this very process."""
    launch = Launch(("true",), address=f"127.0.0.1:{port}")
    server = ServerProcess(name, launch, tmp_path / "log", grace_s=1.0, env=env or {})
    server.child = type("Running", (), {"pid": os.getpid()})()
    session.role = role
    session.servers.append(server)
    return session


def point(repeat: int = 0) -> Point:
    result: Any = LoadResult.__new__(LoadResult)
    object.__setattr__(result, "duration_s", 10.0)
    object.__setattr__(result, "started_monotonic_s", STARTED_S)
    return Point(0, 0, None, LOAD, repeat, result, {})


def kinds(samplers: Sequence[tuple[str, object]]) -> list[tuple[str, type]]:
    return [(kind, type(each)) for kind, each in samplers]


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("GEN_0", [("gen", HostSampler), ("gen", ProcessSampler), ("gen", EngineSampler)]),
        ("CTX_3", [("ctx", HostSampler), ("ctx", ProcessSampler), ("ctx", EngineSampler)]),
        ("DISAGG_SERVER", [("coordinator", ProcessSampler), ("coordinator", EngineSampler)]),
        (
            "BENCHMARK",
            [
                ("client", HostSampler),
                ("client", ProcessSampler),
                ("server", ProcessSampler),
                ("server", EngineSampler),
            ],
        ),
    ],
)
def test_what_each_role_samples(
    make_session: SessionFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str, expected: list[object]
) -> None:
    monkeypatch.setattr(gpu, "present", lambda: False)
    session = with_server(with_telemetry(make_session()), role, tmp_path)
    assert kinds(sampling._samplers(session, "", ())) == expected


def test_an_aggregated_server_and_the_coordinator_in_front_of_it_are_told_apart(
    make_session: SessionFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(gpu, "present", lambda: True)
    monkeypatch.setattr(gpu, "GpuSampler", lambda environ, say: seen.append(environ["CUDA_VISIBLE_DEVICES"]))
    asked: list[str] = []
    monkeypatch.setattr(SimEngine, "metrics_url", lambda self, url, facts: asked.append(url))
    session = with_server(with_telemetry(make_session()), "BENCHMARK", tmp_path, {"CUDA_VISIBLE_DEVICES": "3"})
    with_server(session, "BENCHMARK", tmp_path, {"CUDA_VISIBLE_DEVICES": ""}, name="coordinator", port=2)
    found = kinds(sampling._samplers(session, "SERVER_0", ()))
    assert [kind for kind, each in found if each is ProcessSampler] == ["client", "server", "coordinator"]
    assert asked == ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    assert seen == ["3"]


def test_a_part_of_a_server_is_not_asked_for_metrics(
    make_session: SessionFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "present", lambda: False)
    session = with_server(with_telemetry(make_session()), "GEN_0.node1", tmp_path)
    assert kinds(sampling._samplers(session, "", None)) == [("gen", HostSampler), ("gen", ProcessSampler)]


def test_metrics_that_the_case_names_are_kept_of_any_page(
    make_session: SessionFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = "".join(f"x{number} 1\n" for number in range(MAX_SERIES)) + "mine 2\n"
    monkeypatch.setattr(gpu, "present", lambda: False)
    monkeypatch.setattr(http, "get", lambda url, timeout_s: (200, page))
    session = with_server(with_telemetry(make_session()), "GEN_0", tmp_path)
    *_, (_, engine) = sampling._samplers(session, "", ("mine",))
    (reading,) = engine.sample()
    assert reading.values["mine"] == 2


def test_services_of_the_engine_are_no_servers(
    make_session: SessionFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SimEngine, "services", lambda self, case: ("server 0",))
    session = with_server(with_telemetry(make_session()), "DISAGG_SERVER", tmp_path)
    assert kinds(sampling._samplers(session, "", ())) == []


@pytest.mark.parametrize(("simulated", "noted"), [(False, True), (True, False)])
def test_gpus_that_cannot_be_sampled_are_noted_where_the_engine_needs_them(
    make_session: SessionFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulated: bool, noted: bool
) -> None:
    def no_driver(environ: object, say: object) -> None:
        raise gpu.NoGpuSamplesError("NVML: Driver Not Loaded")

    monkeypatch.setattr(gpu, "present", lambda: True)
    monkeypatch.setattr(gpu, "GpuSampler", no_driver)
    monkeypatch.setattr(SimEngine, "simulated", lambda self, case: simulated)
    said: list[str] = []
    session = with_server(with_telemetry(make_session(log=said.append)), "GEN_0", tmp_path)
    notes = [each for _, each in sampling._samplers(session, "", ()) if isinstance(each, Note)]
    assert said == ["telemetry: no GPU samples: NVML: Driver Not Loaded"]
    assert [reading.text for note in notes for reading in note.sample()] == (
        [] if simulated else ["no GPU samples: NVML: Driver Not Loaded"]
    )


def test_the_gpus_are_those_that_the_server_was_given(
    make_session: SessionFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "present", lambda: True)
    seen = []
    monkeypatch.setattr(gpu, "GpuSampler", lambda environ, say: seen.append(environ["CUDA_VISIBLE_DEVICES"]))
    session = with_server(with_telemetry(make_session()), "GEN_0", tmp_path, {"CUDA_VISIBLE_DEVICES": "2,3"})
    sampling._samplers(session, "", ())
    assert seen == ["2,3"]


def test_a_case_without_telemetry_writes_nothing(make_session: SessionFactory) -> None:
    session = make_session()
    session.rundir.make()
    with sampled(session):
        pass
    assert joined(session, ["BENCHMARK"], [point()], {}) == Joined()
    assert list(session.rundir.results.iterdir()) == []


def test_each_repeat_of_a_load_has_its_own_fields_and_window(make_session: SessionFactory) -> None:
    session = with_telemetry(make_session())
    path = path_of(session.rundir.results, "BENCHMARK")
    path.parent.mkdir()
    sample = Sample(STARTED_S + 1, 0.0, node_name(), "client", "process", "", {"open_files": 7.0})
    note = Sample(STARTED_S, 0.0, node_name(), "server", "note", "", {}, "no GPU samples")
    append(path, [sample, note])
    second = point(1)
    object.__setattr__(second.result, "started_monotonic_s", STARTED_S + 20)
    found = joined(session, ["BENCHMARK"], [point(), second], {(0, 0): "con2"})
    assert found.fields(point()) == {"d_tm_client_process_open_files_max": 7.0}
    assert found.fields(second) == {}
    assert list(found.notes) == [f"BENCHMARK on {node_name()}: no GPU samples"]
    windows = json.loads(windows_of(session.rundir.results).read_text())["windows"]
    assert [(each["point"], each["repeat"], each["monotonic_s"]) for each in windows] == [
        ("con2", 0, STARTED_S),
        ("con2", 1, STARTED_S + 20),
    ]


def test_what_cannot_be_joined_is_a_note_and_no_end_of_the_run(
    make_session: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise ValueError("surprise")

    monkeypatch.setattr(f"{join.__module__}.join", broken)
    session = with_telemetry(make_session())
    found = joined(session, ["BENCHMARK"], [point()], {})
    assert list(found.notes) == ["telemetry could not be joined: ValueError: surprise"]
    assert found.fields(point()) == {}
