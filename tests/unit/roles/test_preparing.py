"""Stage ``prepare``: when there is one, what it holds against the case's rules, and what of it goes into a record."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.config.blocks import Clocks, MachineRules, ModelSource
from pytest_disagg.config.case import Case
from pytest_disagg.engines.sim.engine import SimEngine
from pytest_disagg.errors import RunError
from pytest_disagg.machine.host import HostLook
from pytest_disagg.machine.smi import GpuState, parse
from pytest_disagg.records.nvidia_smi import SmiError
from pytest_disagg.roles import machine, preparing
from pytest_disagg.roles.deployment import deployment_facts, deployment_fields, group_of, server_starts, start_seconds
from pytest_disagg.roles.preparing import HostWatch, await_prepared, prepare
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.rundir.state import RoleState
from pytest_disagg.version import __version__
from tests.standins import nvidia_smi
from tests.unit.roles.conftest import SessionFactory

RUNS = count()


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What nvidia-smi reports, to be filled by a test; empty: there is none."""
    described: list[dict[str, Any]] = []

    def read(timeout_s: float) -> tuple[GpuState, ...] | None:
        full = [{**nvidia_smi.GPU, "uuid": f"GPU-{index}", **each} for index, each in enumerate(described)]
        return parse(nvidia_smi.xml(full)) if described else None

    monkeypatch.setattr(machine, "read", read)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return described


def of_case(make_session: SessionFactory, said: list[str] | None = None, **changes: Any) -> RoleSession:
    session = make_session(log=(said if said is not None else []).append)
    document: dict[str, Any] = {"machine": {}} if "machine" in changes else {}
    case = replace(session.case, **{"document": document, **changes})
    options = replace(session.options, case=case, run_id=f"r{next(RUNS)}")
    return RoleSession(options, session.role, others=())


def prepared(session: RoleSession) -> Any:
    prepare(session, session.case.servers[0])
    return json.loads((session.rundir.results / "prepare.BENCHMARK.json").read_text())


def failure_of(session: RoleSession) -> str:
    with pytest.raises(RunError) as error, session:
        prepare(session, session.case.servers[0])
    assert (error.value.kind, error.value.stage) == ("infrastructure", "prepare")
    return str(error.value)


def test_a_case_that_asks_for_nothing_has_no_such_stage(make_session: SessionFactory) -> None:
    with make_session() as session:
        prepare(session, session.case.servers[0])
        assert session.timeline == []
        assert deployment_facts(session) == {"server_start_s": {}, "prepare": {}}
        assert group_of(session) == ""


def test_simulated_servers_need_no_machine_of_any_kind(
    make_session: SessionFactory, gpus: list[dict[str, Any]]
) -> None:
    """Those of an engine that can also be real: the case has the default rules then."""
    gpus.append({"ecc": 1})
    with of_case(make_session, machine=MachineRules(), document={}) as session:
        prepare(session, session.case.servers[0])
        assert session.timeline == []


def test_without_a_gpu_nothing_is_checked_and_that_is_said_once(
    make_session: SessionFactory, gpus: list[dict[str, Any]]
) -> None:
    said: list[str] = []
    with of_case(make_session, said, machine=MachineRules()) as session:
        prepare(session, session.case.servers[0])
        assert [name for name, *_ in session.timeline] == ["prepare"]
        assert not list(session.rundir.results.iterdir())
    assert len([line for line in said if "no NVIDIA GPU" in line]) == 1


def test_a_coordinator_looks_at_no_gpu(make_session: SessionFactory, gpus: list[dict[str, Any]]) -> None:
    gpus.append({"ecc": 1})
    with of_case(make_session, machine=MachineRules()) as session:
        prepare(session, None)
        assert session.timeline == []


def test_findings_fail_the_role_with_all_of_them(make_session: SessionFactory, gpus: list[dict[str, Any]]) -> None:
    gpus += [{"processes": [(2**22 + 1, "train.py", 300)]}, {"ecc": 2}]
    session = of_case(make_session, machine=MachineRules())
    with pytest.raises(RunError) as error, session:
        prepare(session, session.case.servers[0])
    assert f"GPU 0 (GPU-0): found train.py (pid {2**22 + 1}) with 300 MiB" in str(error.value)
    assert str(error.value).endswith(", and 1 more")
    assert error.value.evidence == (
        "GPU 1 (GPU-1): found 2 uncorrected ECC errors since its driver was loaded, expected 0",
    )
    assert error.value.kind == "infrastructure"


def test_what_is_only_noted_is_said_and_kept(make_session: SessionFactory, gpus: list[dict[str, Any]]) -> None:
    gpus.append({"reasons": ["hw_thermal_slowdown"]})
    with of_case(make_session, machine=MachineRules()) as session:
        found = prepared(session)
        state = json.loads(session.rundir.role("BENCHMARK").read_text())
    (finding,) = found["gpu"]["findings"]
    assert "held down by hw_thermal_slowdown" in finding
    assert finding in state["said"][0]


def test_only_the_gpus_of_this_role(
    make_session: SessionFactory, gpus: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus += [{"ecc": 1}, {}]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with of_case(make_session, machine=MachineRules()) as session:
        assert prepared(session)["gpu"]["gpus"] == ["GPU-1"]
    # What the file gives its server lies over it, as in the server itself.
    spec = replace(session.case.servers[0], env={"CUDA_VISIBLE_DEVICES": "2"})
    gpus.append({})
    with of_case(make_session, machine=MachineRules(), servers=(spec,)) as session:
        assert prepared(session)["gpu"]["gpus"] == ["GPU-2"]


def test_a_driver_that_does_not_answer(make_session: SessionFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(timeout_s: float) -> None:
        raise SmiError(f"nvidia-smi -q -x gave no answer in {timeout_s:g} s")

    monkeypatch.setattr(machine, "read", hangs)
    assert "cannot be looked at: nvidia-smi -q -x gave no answer in 30 s" in failure_of(
        of_case(make_session, machine=MachineRules())
    )


def test_clocks_that_cannot_be_locked(make_session: SessionFactory, gpus: list[dict[str, Any]]) -> None:
    assert "has no NVIDIA GPU whose clocks could be locked" in failure_of(
        of_case(make_session, clocks=Clocks(gpu_mhz=1410))
    )
    gpus.append({})
    words = failure_of(of_case(make_session, clocks=Clocks(gpu_mhz=2500)))
    assert words.startswith("clocks.gpu_mhz: found 2500 MHz, expected at most 1980 MHz of NVIDIA H100")


def test_clocks_of_nodes_where_nobody_could_lock_them(make_session: SessionFactory, gpus: list[dict[str, Any]]) -> None:
    gpus.append({})
    spec = replace(make_session().case.servers[0], world_size=3)
    session = of_case(make_session, clocks=Clocks(gpu_mhz=1410), servers=(spec,))
    assert "server one has 3 nodes and engine sim starts it from the first one alone" in failure_of(session)


def test_a_models_root_of_each_node_where_nobody_could_fetch(make_session: SessionFactory, tmp_path: Path) -> None:
    made = make_session(models_root=tmp_path)
    spec = replace(made.case.servers[0], world_size=3)
    source = ModelSource(repo="org/{model}", scope="node")
    options = replace(made.options, case=replace(made.case, servers=(spec,), model_source=source))
    words = failure_of(RoleSession(options, "BENCHMARK", others=()))
    assert "model.scope: node: server one has 3 nodes and engine sim starts it from the first one alone" in words


def test_records_are_kept_apart_by_what_deviates(make_session: SessionFactory, gpus: list[dict[str, Any]]) -> None:
    gpus += [{"power_limit": 500}, {"power_limit": 500}]
    with of_case(make_session, machine=MachineRules(series=("power_cap", "driver"))) as session:
        prepared(session)
        assert group_of(session) == "power 500 W, driver 575.57.08"
        fields = deployment_fields(session, "SERVER_0")
        assert deployment_facts(session)["prepare"]["BENCHMARK"]["gpu"]["power_limit_w"] == [500]
    assert fields == {
        "d_server_start_s": None,
        "s_gpu_driver": "575.57.08",
        "d_gpu_power_limit_w": 500,
        "l_gpu_max_clock_mhz": 1980,
        "l_gpu_locked_mhz": None,
        "l_gpu_memory_locked_mhz": None,
    }


def test_a_model_without_a_place_to_go_to(make_session: SessionFactory) -> None:
    session = of_case(make_session, model_source=ModelSource(repo="org/{model}"))
    assert "nothing says where it goes: found neither --disagg-models-root nor LLM_MODELS_ROOT" in failure_of(session)


def test_of_one_models_root_for_all_nodes_one_role_fetches_and_the_others_wait(
    make_session: SessionFactory, tmp_path: Path
) -> None:
    made = make_session(models_root=tmp_path)
    source = ModelSource(command=("/no/such/program", "{folder}"))
    options = replace(made.options, case=replace(made.case, model_source=source))
    assert "cannot start '/no/such/program'" in failure_of(RoleSession(options, "BENCHMARK", others=()))
    options = replace(options, work_dir=tmp_path / "more")
    follower = RoleSession(options, "BENCHMARK.node1", others=("BENCHMARK",))
    follower.limits = replace(follower.limits, prepare_s=0.0)
    assert failure_of(follower) == (
        f"waited 0 s (left of timeouts.prepare_s) for {tmp_path / 'm'}, which BENCHMARK fetches; "
        "last seen: BENCHMARK: not started"
    )


def test_a_model_that_is_there_is_left_alone(make_session: SessionFactory, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    session = make_session(models_root=tmp_path)
    options = replace(session.options, case=replace(session.case, model_source=ModelSource(repo="org/{model}")))
    with RoleSession(options, "BENCHMARK", others=()) as session:
        (kept,) = prepared(session)["models"].values()
    assert (kept["repo"], kept["fetched"], kept["folder"]) == ("org/m", False, str(tmp_path / "m"))
    (tmp_path / "m/.disagg-model.json").write_text('{"repo": "org/other", "revision": "main", "exclude": []}')
    options = replace(options, work_dir=tmp_path / "more")
    assert "was fetched with repo 'org/other', the case asks for repo 'org/m'" in failure_of(
        RoleSession(options, "BENCHMARK", others=())
    )


def test_a_fetch_takes_nothing_from_the_time_for_launching(make_session: SessionFactory) -> None:
    """BENCHMARK waits for it first, and says what it waits for."""
    with of_case(make_session, model_source=ModelSource(repo="a/b")) as session:
        await_prepared(session, [])
        states, fetching = session.monitor._watch.states, "model m: 1.2 GB so far"
        states["GEN_0"] = RoleState(
            "GEN_0",
            stage="prepare",
            progress=fetching,
            timeline=(("prepare", 1.0, None),),
            digest=session.case.digest,
            version=__version__,
        )
        session.limits = replace(session.limits, prepare_s=0.5, grace_s=0.0)
        with pytest.raises(
            RunError, match=rf"waited 0.5 s \(timeouts.prepare_s\) for 1 roles to have .*last seen: GEN_0: {fetching}"
        ):
            await_prepared(session, ["GEN_0"])
        states["GEN_0"] = replace(states["GEN_0"], stage="launch", timeline=(("prepare", 1.0, 2.0),))
        session.limits = replace(session.limits, prepare_s=60.0)
        await_prepared(session, ["GEN_0"])
        assert [name for name, *_ in session.timeline] == ["prepare"] * 3


def test_how_long_a_server_took_to_start() -> None:
    waiting = ("launch", 0.0, 50.0)
    timeline = (("prepare", 0.0, 9.0), waiting, ("launch", 50.0, 51.5), ("ready", 51.5, 60.25), ("launch", 70.0, None))
    assert start_seconds(timeline) == 10.25
    assert start_seconds(timeline, 1) is None
    assert start_seconds(timeline[:3]) is None


def test_starts_of_an_aggregated_case(make_session: SessionFactory) -> None:
    with make_session() as session:
        session.timeline += [("launch", 1.0, 2.0), ("ready", 2.0, 5.0)]
        assert server_starts(session) == {"SERVER_0": 4.0}
        assert deployment_fields(session, "SERVER_0")["d_server_start_s"] == 4.0
        assert deployment_fields(session, "SERVER_1")["d_server_start_s"] is None


def test_starts_of_servers_that_each_have_a_coordinator_behind_them(make_session: SessionFactory) -> None:
    class Fronted(SimEngine):
        def fronts_aggregated(self, case: Case) -> bool:
            return True

    with make_session(engine=Fronted()) as session:
        session.case = replace(session.case, servers=session.case.servers * 2)
        for began, took in ((1.0, 4.0), (5.0, 1.0), (9.0, 3.0), (12.0, 1.0)):
            session.timeline += [("launch", began, began), ("ready", began, began + took)]
        assert server_starts(session) == {"SERVER_0": 4.0, "SERVER_1": 3.0}


@pytest.mark.parametrize("action", ["note", "invalid", "ignore"])
def test_a_busy_host(make_session: SessionFactory, monkeypatch: pytest.MonkeyPatch, action: Any) -> None:
    looks = iter([HostLook(0, 0, {}), HostLook(1e6, 4e5, {})])
    monkeypatch.setattr(preparing, "look", lambda processes: next(looks))
    with of_case(make_session, machine=MachineRules(busy_host=action, max_host_cpu=0.3)) as session:
        notes = HostWatch.begin(session).conclude()
    found = {"note": notes, "invalid": session.doubts, "ignore": []}[action]
    assert notes + session.doubts == found
    assert all("others than this run had 40% of its" in text for text in found)
    assert all("expected at most 30% (machine.max_host_cpu)" in text for text in found)
    assert bool(found) == (action != "ignore")
