from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pytest_disagg.config.blocks import Gate, MachineRules, Timeouts
from pytest_disagg.config.case import Case, CaseId, LoadSpec, Mode, ServerKind, ServerSpec
from pytest_disagg.config.sim import SimFault, SimSettings
from pytest_disagg.engines.protocol import CoordinatorRequest, Launch, ServerRequest
from pytest_disagg.engines.registry import get
from pytest_disagg.engines.sim.engine import SimEngine, fill_gate, truth_path
from pytest_disagg.engines.sim.settings import (
    CoordinatorSettings,
    Fault,
    ServerSettings,
    Timing,
    dump,
    load_coordinator,
    load_server,
)
from pytest_disagg.errors import ConfigError

ENGINE = SimEngine()


def spec(kind: ServerKind, count: int = 1, **block: Any) -> ServerSpec:
    return ServerSpec(kind, f"the-{kind}", "m", count, 1, block)


def case(
    mode: Mode = "e2e",
    *,
    gen: ServerSpec | None = None,
    ctx: ServerSpec | None = None,
    server: ServerSpec | None = None,
    concurrency: int = 8,
    sim: Mapping[str, Any] | None = None,
) -> Case:
    load = LoadSpec("load", concurrency, iterations=1, isl=8, osl=8)
    return Case(
        id=CaseId("id", "aggr" if server else "disagg", mode, None, "c"),
        path=Path("c.yaml"),
        engine="sim",
        model="m",
        servers=tuple(one for one in (gen, ctx, server) if one is not None),
        clients=() if server else (load,),
        gpus_per_node=8,
        share_nodes=False,
        coordinator_env={},
        coordinator_env_text="",
        supported_gpus=(),
        timeouts=Timeouts(),
        gate=Gate(),
        machine=MachineRules(),
        slo=None,
        sim=SimSettings(**(sim or {})),
        document={},
        digest="",
    )


def launch(of: Case, kind: ServerKind, index: int = 0) -> Launch:
    found = of.server(kind)
    assert found is not None
    role = {"gen": f"GEN_{index}", "ctx": f"CTX_{index}", "server": "BENCHMARK"}[kind]
    config, logs, secrets, address = map(Path, ("/run/config", "/run/logs", "/run/secrets", "/run/address"))
    request = ServerRequest(of, found, role, index, "127.0.0.1", config, logs, secrets, address)
    return ENGINE.server(request)


def told(of: Case, kind: ServerKind, index: int = 0) -> dict[str, Any]:
    """What the process is told in its settings file."""
    (text,) = launch(of, kind, index).files.values()
    settings: dict[str, Any] = json.loads(text)
    return settings


def test_it_is_the_registered_engine_sim() -> None:
    assert isinstance(get("sim"), SimEngine)
    assert ENGINE.unavailable(case(gen=spec("gen"))) is None


def test_a_server_is_this_python_with_a_settings_file() -> None:
    started = launch(case(gen=spec("gen"), ctx=spec("ctx")), "gen")

    assert started.argv == (
        *(sys.executable, "-m", "pytest_disagg.engines.sim", "server", "--kind", "gen"),
        *("--settings", "/run/config/sim.GEN_0.json", "--host", "127.0.0.1", "--port", "0"),
        *("--address-file", "/run/address"),
    )
    assert list(started.files) == [Path("/run/config/sim.GEN_0.json")]


def test_the_truth_log_lies_beside_the_logs_when_asked_for() -> None:
    argv = launch(case(gen=spec("gen"), ctx=spec("ctx"), sim={"truth_log": True}), "gen").argv

    assert argv[-2:] == ("--truth-log", str(truth_path(Path("/run/logs"), "GEN_0")))


def test_the_coordinator_knows_every_server_in_order(tmp_path: Path) -> None:
    of = case(gen=spec("gen", 2), ctx=spec("ctx"), sim={"faults": [{"role": "DISAGG_SERVER", "kind": "hang"}]})
    request = CoordinatorRequest(
        of, "DISAGG_SERVER", "h", ["h:1"], ["h:2", "h:3"], tmp_path, tmp_path, tmp_path, tmp_path / "address"
    )
    started = ENGINE.coordinator(request)
    ((path, text),) = started.files.items()
    path.write_text(text, encoding="utf-8")

    settings = load_coordinator(path)

    assert (settings.ctx, settings.gen, settings.no_context) == (("h:1",), ("h:2", "h:3"), False)
    assert settings.faults == (Fault("hang"),)
    assert started.argv[3] == "coordinator"


def test_settings_survive_their_file(tmp_path: Path) -> None:
    server = ServerSettings("GEN_1", "m", fill_gate=3, timing=Timing(speedup=4.0), faults=(Fault("exit", exit_code=9),))
    coordinator = CoordinatorSettings("DISAGG_SERVER", "m", ("a:1",), ("b:2",), True, faults=(Fault("hang"),))
    for name, settings in (("s", server), ("c", coordinator)):
        (tmp_path / name).write_text(dump(settings), encoding="utf-8")

    assert load_server(tmp_path / "s") == server
    assert load_coordinator(tmp_path / "c") == coordinator


def test_the_timing_of_the_case_reaches_the_server() -> None:
    timing = {field.name: 0.5 for field in dataclasses.fields(Timing) if field.name != "kv_bytes_per_token"}

    settings = told(case(gen=spec("gen"), ctx=spec("ctx"), sim={**timing, "kv_bytes_per_token": 3, "seed": 7}), "ctx")

    assert settings["timing"] == {**timing, "kv_bytes_per_token": 3}
    assert settings["seed"] == 7


def test_a_block_of_another_engine_is_read_for_its_sizes() -> None:
    block: dict[str, Any] = {
        "max_batch_size": 192,
        "max_num_tokens": 384,
        "stream_interval": 20,
        "tensor_parallel_size": 8,
        "enable_attention_dp": True,
        "print_iter_log": True,
        "moe_config": {"backend": "CUTEDSL"},
    }

    settings = told(case(gen=spec("gen", **block), ctx=spec("ctx")), "gen")

    assert settings["max_batch_size"] == 192 * 8, "with attention DP max_batch_size is per rank"
    assert (settings["prefill_chunk_tokens"], settings["tokens_per_chunk"]) == (384, 20)
    assert settings["iteration_log"] is True


def test_the_sim_block_is_above_the_engine_block() -> None:
    gen = spec("gen", max_batch_size=64, stream_interval=20)

    settings = told(case(gen=gen, ctx=spec("ctx"), sim={"max_batch_size": 3, "tokens_per_chunk": 2}), "gen")

    assert (settings["max_batch_size"], settings["tokens_per_chunk"]) == (3, 2)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("max_batch_size", "many", "a positive integer"),
        ("stream_interval", 0, "a positive integer"),
        ("max_num_tokens", True, "a positive integer"),
        ("print_iter_log", "yes", "true or false"),
    ],
)
def test_a_key_it_cannot_use_is_named(key: str, value: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        launch(case(gen=spec("gen", **{key: value}), ctx=spec("ctx")), "gen")

    assert str(caught.value) == f"c.yaml: worker_config.gen.{key}: found {value!r}, expected {expected}"


@pytest.mark.parametrize(
    ("mode", "kind", "expected"),
    [
        ("gen_only", "gen", True),
        ("gen_only_no_context", "gen", True),
        ("e2e", "gen", False),
        ("gen_only", "ctx", False),
    ],
)
def test_gen_servers_log_iterations_by_default_where_they_are_measured_by_them(
    mode: Mode, kind: ServerKind, expected: bool
) -> None:
    of = case(mode, gen=spec("gen"), ctx=spec("ctx"))

    assert told(of, kind)["iteration_log"] is expected


@pytest.mark.parametrize(
    ("concurrency", "servers", "batch", "gate"),
    [(8, 1, 512, 8), (8, 4, 1, 1), (8, 4, 512, 2), (10, 4, 512, 2), (64, 1, 16, 16), (2, 4, 512, 1)],
)
def test_the_fill_gate_is_this_servers_share(concurrency: int, servers: int, batch: int, gate: int) -> None:
    gen = spec("gen", servers, max_batch_size=batch)
    of = case("gen_only", gen=gen, ctx=spec("ctx"), concurrency=concurrency)

    assert fill_gate(of, gen) == gate
    assert told(of, "gen")["fill_gate"] == gate
    assert told(of, "ctx")["fill_gate"] == 0


def test_only_gen_only_has_a_fill_gate_and_is_not_probed() -> None:
    gates = {mode: told(case(mode, gen=spec("gen")), "gen")["fill_gate"] for mode in ("e2e", "gen_only_no_context")}
    policy = ENGINE.probe_policy("gen_only")

    assert gates == {"e2e": 0, "gen_only_no_context": 0}
    assert (policy.probe, policy.warmup, policy.repeat) == (False, False, False)
    assert ENGINE.probe_policy("gen_only_no_context").probe
    assert ENGINE.probe_policy("e2e").repeat


def test_gen_needs_no_context_where_a_disaggregated_run_has_no_ctx() -> None:
    with_ctx = case("gen_only", gen=spec("gen"), ctx=spec("ctx"))
    dropped = case("gen_only", gen=spec("gen"))
    by_mode = case("gen_only_no_context", gen=spec("gen"), ctx=spec("ctx"))

    assert [told(of, "gen")["no_context"] for of in (with_ctx, dropped, by_mode)] == [False, True, True]
    assert told(by_mode, "ctx")["no_context"] is False


def test_faults_go_to_the_roles_they_name() -> None:
    faults = [
        {"role": "GEN_0", "kind": "hang"},
        {"role": "GEN_*", "kind": "slow_start", "delay_s": 2},
        {"role": "SERVER_1", "kind": "exit"},
        {"role": "CTX_1", "kind": "exit"},
    ]
    of = case(gen=spec("gen", 2), ctx=spec("ctx", 2), sim={"faults": faults})
    alone = case(server=spec("server"), sim={"faults": faults})

    def kinds(of: Case, kind: ServerKind, index: int) -> list[str]:
        return [entry["kind"] for entry in told(of, kind, index)["faults"]]

    assert (kinds(of, "gen", 0), kinds(of, "gen", 1)) == (["hang", "slow_start"], ["slow_start"])
    assert (kinds(of, "ctx", 0), kinds(of, "ctx", 1)) == ([], ["exit"])
    assert (kinds(alone, "server", 0), kinds(alone, "server", 1)) == ([], ["exit"])


@pytest.mark.parametrize("role", ["GEN", "gen_0", "GEN_", "BENCHMARK", "DISAGG_SERVER_0", "CTX_**"])
def test_a_fault_of_no_role_is_refused(role: str) -> None:
    with pytest.raises(ValidationError, match="role"):
        SimFault(role=role, kind="hang")


@pytest.mark.parametrize(
    "block",
    [
        {"decode_step_ms": 0},
        {"decode_step_ms": "5"},
        {"jitter": 1.0},
        {"decode_steps_ms": 5},
        {"faults": [{"role": "GEN_0", "kind": "explode"}]},
        {"faults": [{"role": "GEN_0", "kind": "exit", "exit_code": 256}]},
    ],
)
def test_a_sim_block_that_cannot_be_meant_is_refused(block: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SimSettings(**block)


def test_the_questions_never_raise() -> None:
    url = "http://127.0.0.1:9"

    assert not ENGINE.healthy(url, 1.0).ok
    assert "127.0.0.1" in ENGINE.healthy(url, 1.0).seen
    assert not ENGINE.routable(url, ctx=1, gen=1, timeout_s=1.0).ok
    assert ENGINE.progress(url, 1.0) is None
