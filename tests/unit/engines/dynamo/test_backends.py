"""The command lines of workers, backend by backend."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_disagg.errors import ConfigError
from tests.unit.engines.dynamo.conftest import AGGREGATED, ENGINE, LoadCase, options, server, words, workers


def test_mockers(load: LoadCase) -> None:
    case = load(
        **workers(
            "mocker",
            {"tensor_parallel_size": 4, "max_num_seqs": 16, "enable_prefix_caching": False, "sglang_generate": False},
            {"speedup_ratio": 2.5, "reasoning": {"thinking_ratio": 0.5}, "max_batch_size": None},
        )
    )
    gen, ctx = server(case, "gen"), server(case, "ctx")
    assert gen.argv[:3] == ctx.argv[:3] == ("/dyn/python", "-m", "dynamo.mocker")
    model = ["--model-path", "m", "--model-name", "m", "--disaggregation-mode"]
    assert words(gen) == [*model, "decode", "--max-num-seqs", "16", "--no-enable-prefix-caching"]
    reasoning = json.dumps({"thinking_ratio": 0.5}, separators=(",", ":"))
    assert words(ctx) == [*model, "prefill", "--speedup-ratio", "2.5", "--reasoning", reasoning]
    assert gen.files == {}


def test_a_mocker_that_predicts_is_told_its_size(load: LoadCase) -> None:
    case = load(**workers("mocker", {"tensor_parallel_size": 4, "ais_perf_model": True}))
    assert words(server(case, "gen"))[6:] == ["--ais-tp-size", "4", "--ais-perf-model"]


def test_an_aggregated_worker_is_told_no_mode(load: LoadCase) -> None:
    launch = server(load(AGGREGATED), "server")
    assert words(launch) == ["--model-path", "m", "--model-name", "m"]


def test_the_file_says_where_the_model_lies(load: LoadCase) -> None:
    case = load(environment={"model_path": "/models/m"})
    assert words(server(case, "gen"))[:4] == ["--model-path", "/models/m", "--model-name", "m"]


def test_sglang(load: LoadCase) -> None:
    case = load(**workers("sglang", {"tensor_parallel_size": 2, "page_size": 16, "skip_tokenizer_init": True}))
    gen, ctx = server(case, "gen"), server(case, "ctx")
    model = ["--model-path", "m", "--served-model-name", "m", "--disaggregation-mode"]
    assert words(gen) == [
        # SGLang counts the ports of data-parallel attention from --port.
        *(*model, "decode", "--host", "10.0.0.1", "--port", "5001", "--nccl-port", "5002", "--tp-size", "2"),
        *("--page-size", "16", "--skip-tokenizer-init"),
    ]
    ports = ("--port", "5001", "--nccl-port", "5002", "--disaggregation-bootstrap-port", "5003")
    assert words(ctx) == [*model, "prefill", "--host", "10.0.0.1", *ports]
    assert ctx.env["SGLANG_HOST_IP"] == "10.0.0.1"
    assert ctx.env["DYN_SYSTEM_PORT"] == "5004"
    assert ctx.address == "10.0.0.1:5004"


def test_what_dynamo_has_on_is_turned_off_for_every_backend(load: LoadCase) -> None:
    """The engines inside have switches that take no ``--no-``; Dynamo's own would stay on without it."""
    for backend in ("mocker", "sglang", "trtllm", "vllm"):
        gen = words(server(load(**workers(backend, {"router_kv_events": False, "router_mode": "kv"})), "gen"))
        assert "--no-router-kv-events" in gen, backend
        assert gen[gen.index("--router-mode") + 1] == "kv"
    sglang = load(**workers("sglang", {"skip_tokenizer_init": False, "exclude_tools_when_tool_choice_none": False}))
    assert words(server(sglang, "gen"))[-1] == "--no-exclude-tools-when-tool-choice-none"
    assert not [word for word in words(server(sglang, "gen")) if "skip-tokenizer" in word]


def test_sglang_over_several_nodes(load: LoadCase) -> None:
    case = load(**workers("sglang", ctx={"tensor_parallel_size": 16}))
    spec = case.server("ctx")
    assert spec is not None
    assert ENGINE.on_every_node(case, spec)
    first = server(case, "ctx", nodes=2, rendezvous="10.0.0.1:6000")
    assert first.facts == {"bootstrap_port": "5002"}
    second = server(case, "ctx", rank=1, nodes=2, rendezvous="10.0.0.1:6000", bootstrap_port="7777")
    for rank, launch in enumerate(nodes := (first, second)):
        said = options(launch)
        assert (said["--nnodes"], said["--node-rank"], said["--dist-init-addr"]) == ("2", str(rank), "10.0.0.1:6000")
        # One port that all ranks know: the leader's.
        assert said["--disaggregation-bootstrap-port"] == ("5002", "7777")[rank]
        assert said["--tp-size"] == "16"
        assert "--nccl-port" not in said
    # The second node registers nothing, and answers for nothing.
    assert nodes[0].address == f"10.0.0.1:{nodes[0].env['DYN_SYSTEM_PORT']}"
    assert nodes[1].address == ""
    assert "DYN_SYSTEM_PORT" not in nodes[1].env


def test_trtllm(load: LoadCase) -> None:
    block = {
        "tensor_parallel_size": 4,
        "max_batch_size": 8,
        "cache_transceiver_config": {"backend": "NIXL"},
        "publish_metrics": True,
        "dyn_tool_call_parser": "hermes",
        "router_queue_policy": "wspt",
    }
    launch = server(load(**workers("trtllm", block)), "gen")
    path = Path("/run/config/GEN_0/engine.gen.e2e-c.yaml")
    assert launch.argv[:3] == ("/dyn/python", "-m", "dynamo.trtllm")
    assert words(launch) == [
        *("--model-path", "m", "--served-model-name", "m", "--disaggregation-mode", "decode"),
        *("--extra-engine-args", str(path), "--publish-metrics", "--dyn-tool-call-parser", "hermes"),
        *("--router-queue-policy", "wspt"),
    ]
    (text,) = launch.files.values()
    assert list(launch.files) == [path]
    assert yaml.safe_load(text) == {key: block[key] for key in list(block)[:3]}


def test_the_launcher_of_trtllm_is_for_cases_of_several_nodes(load: LoadCase) -> None:
    one, several = load(**workers("trtllm")), load(**workers("trtllm", {"tensor_parallel_size": 16}))
    for case, launcher in ((one, ()), (several, ("trtllm-llmapi-launch",))):
        for spec in case.servers:
            assert ENGINE.around_pytest(case, spec) == launcher
            assert bool(ENGINE.environment(case, spec)) is bool(launcher)
            assert not ENGINE.on_every_node(case, spec)
    sglang = load(**workers("sglang", {"tensor_parallel_size": 16}))
    assert {ENGINE.around_pytest(sglang, spec) for spec in sglang.servers} == {()}


def test_vllm(load: LoadCase) -> None:
    case = load(**workers("vllm", {"tensor_parallel_size": 2, "enforce_eager": True, "enable_prefix_caching": False}))
    gen, ctx = server(case, "gen"), server(case, "ctx")
    model = ["--model", "m", "--served-model-name", "m", "--disaggregation-mode"]

    def transfer(role: str) -> list[str]:
        # Without the last one a decode worker prefills what it could not get, and nobody sees it.
        found = {"kv_connector": "NixlConnector", "kv_role": role, "kv_load_failure_policy": "fail"}
        return ["--kv-transfer-config", json.dumps(found, separators=(",", ":"))]

    own = ["--enforce-eager", "--no-enable-prefix-caching"]
    assert words(gen) == [*model, "decode", "--tensor-parallel-size", "2", *transfer("kv_consumer"), *own]
    assert words(ctx) == [*model, "prefill", *transfer("kv_producer")]
    assert gen.env["VLLM_NIXL_SIDE_CHANNEL_HOST"] == "10.0.0.1"
    assert gen.env["VLLM_NIXL_SIDE_CHANNEL_PORT"] == "5001"
    assert gen.env["DYN_SYSTEM_PORT"] == "5002"


def test_vllm_with_another_connector(load: LoadCase) -> None:
    given = {"kv_connector": "LMCacheConnectorV1", "kv_role": "kv_both"}
    case = load(**workers("vllm", ctx={"kv_transfer_config": given}))
    launch = server(case, "ctx")
    assert json.loads(options(launch)["--kv-transfer-config"]) == {**given, "kv_load_failure_policy": "fail"}
    assert not [name for name in launch.env if "NIXL" in name]


def test_vllm_listens_for_each_replica(load: LoadCase) -> None:
    """NIXL's handshake of a replica is on the port of the first plus its rank."""
    case = load(**workers("vllm", {"data_parallel_size": 4, "world_size": 4}))
    asked: list[int] = []

    def port(*, count: int = 1, **_: Any) -> int:
        asked.append(count)
        return 5000

    assert server(case, "gen", port=port).env["VLLM_NIXL_SIDE_CHANNEL_PORT"] == "5000"
    assert asked == [4, 1]


def test_vllm_over_several_nodes(load: LoadCase) -> None:
    case = load(**workers("vllm", {"tensor_parallel_size": 8, "pipeline_parallel_size": 2}))
    first, second = (server(case, "gen", rank=rank, nodes=2, rendezvous="10.0.0.1:6000") for rank in (0, 1))
    for rank, launch in enumerate((first, second)):
        said = options(launch)
        assert (said["--nnodes"], said["--node-rank"]) == ("2", str(rank))
        assert (said["--master-addr"], said["--master-port"]) == ("10.0.0.1", "6000")
        assert (said["--tensor-parallel-size"], said["--pipeline-parallel-size"]) == ("8", "2")
    assert ("--headless" in first.argv, "--headless" in second.argv) == (False, True)
    assert first.env["VLLM_HOST_IP"] == second.env["VLLM_HOST_IP"] == "10.0.0.1"
    assert (bool(first.address), bool(second.address)) == (True, False)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({}, "worker_config.gen.backend: found nothing, expected one of mocker, sglang, trtllm, vllm"),
        (
            {"backend": "sgalng"},
            "found 'sgalng', expected one of mocker, sglang, trtllm, vllm (did you mean 'sglang'?)",
        ),
        (
            {"backend": "mocker", "endpoint": "dyn://a.b.c"},
            "gen.endpoint: found 'dyn://a.b.c', expected nothing: the run gives it",
        ),
        ({"backend": "mocker", "request_plane": "nats"}, "expected the discovery block of the file"),
        ({"backend": "mocker", "Max-Seqs": 1}, "expected an option's name in lower case with underscores"),
        ({"backend": "sglang", "tp_size": 8}, "expected tensor_parallel_size, pipeline_parallel_size"),
        ({"backend": "sglang", "context_parallel_size": 2}, "dynamo.sglang has no other size"),
        ({"backend": "vllm", "kv_transfer_config": "nixl"}, "gen.kv_transfer_config: found 'nixl', expected a mapping"),
        ({"backend": "vllm", "data_parallel_size": "two"}, "gen.data_parallel_size: found 'two', expected a positive"),
        ({"backend": "vllm", "tensor_parallel_size": 2, "world_size": 4}, "gen.world_size: found 4, expected 2"),
        ({"backend": "mocker", "bootstrap_ports": "1"}, "expected nothing: a mocker that decodes takes a request when"),
        ({"backend": "vllm", "nnodes": 2}, "expected nothing: the run places nodes and ranks"),
        ({"backend": "trtllm", "extra_engine_args": "x.yaml"}, "expected the engine's keys themselves, in this block"),
    ],
)
def test_what_a_worker_cannot_be_given(load: LoadCase, block: dict[str, Any], words: str) -> None:
    backend = block.get("backend", "mocker")
    ctx = {"backend": backend if backend in ("mocker", "sglang", "trtllm", "vllm") else "mocker"}
    case = load(worker_config={"gen": block, "ctx": ctx})
    with pytest.raises(ConfigError) as error:
        server(case, "ctx")
    assert words in str(error.value)


def test_replicas_of_one_server_stay_on_one_node(load: LoadCase) -> None:
    several = {"data_parallel_size": 2, "tensor_parallel_size": 8, "world_size": 16}
    case = load(**workers("vllm", several))
    with pytest.raises(ConfigError, match=r"gen\.data_parallel_size: found 2, expected .*one node"):
        server(case, "gen", nodes=2, rendezvous="10.0.0.1:6000")
    assert options(server(load(**workers("vllm", {"data_parallel_size": 2, "world_size": 2})), "gen"))[
        "--data-parallel-size"
    ] == ("2")


def test_both_kinds_are_served_by_one_backend(load: LoadCase) -> None:
    case = load(worker_config={"gen": {"backend": "vllm"}, "ctx": {"backend": "sglang"}})
    with pytest.raises(ConfigError, match=r"ctx\.backend: found 'sglang', expected vllm, as worker_config\.gen"):
        server(case, "gen")
