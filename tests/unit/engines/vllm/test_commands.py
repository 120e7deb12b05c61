"""Complete command lines of servers and coordinators, with environment, address and facts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.engines.protocol import Launch, ProbePolicy
from tests.standins import vllm_serve
from tests.unit.engines.vllm.conftest import AGGREGATED, ENGINE, LoadCase, coordinator, server, workers

HEAD = ("vllm", "serve", "m", "--served-model-name", "m")
PRODUCER = '{"kv_connector":"NixlConnector","kv_role":"kv_producer","kv_load_failure_policy":"fail"}'
CONSUMER = PRODUCER.replace("producer", "consumer")
OF_THE_GEN = ("--tensor-parallel-size", "4", "--kv-transfer-config", CONSUMER)


def accepted(launch: Launch) -> Launch:
    """It as it is, where vLLM has all of its options."""
    vllm_serve.parser().parse_args(launch.argv[2:])
    return launch


def kv(launch: Launch) -> dict[str, Any]:
    loaded = json.loads(launch.argv[launch.argv.index("--kv-transfer-config") + 1])
    assert isinstance(loaded, dict)
    return loaded


def test_ctx_and_gen_servers(load: LoadCase) -> None:
    gen, ctx = accepted(server(load(), "gen")), accepted(server(load(), "ctx"))
    assert gen.argv == (*HEAD, "--host", "n0", "--port", "1002", *OF_THE_GEN)
    options = ("--tensor-parallel-size", "2", "--kv-transfer-config", PRODUCER)
    assert ctx.argv == (*HEAD, "--host", "n0", "--port", "1002", *options)
    channel = {"VLLM_NIXL_SIDE_CHANNEL_HOST": "n0", "VLLM_NIXL_SIDE_CHANNEL_PORT": "1001"}
    for launch in (gen, ctx):
        assert (launch.address, launch.address_file, launch.env) == ("n0:1002", None, channel)
        assert (launch.files, launch.facts) == ({}, {})


def test_an_aggregated_server_transfers_nothing(load: LoadCase) -> None:
    launch = accepted(server(load(AGGREGATED), "server"))
    assert launch.argv == (*HEAD, "--host", "n0", "--port", "1001", "--tensor-parallel-size", "4")
    assert (launch.address, launch.env) == ("n0:1001", {})
    one = {**AGGREGATED["server_configs"][0], "kv_transfer_config": {"kv_connector": "X", "kv_role": "kv_both"}}
    launch = accepted(server(load(AGGREGATED, server_configs=[one]), "server"))
    assert (kv(launch), launch.env) == ({"kv_connector": "X", "kv_role": "kv_both"}, {})


def test_numactl_and_programs_of_the_environment(load: LoadCase, monkeypatch: pytest.MonkeyPatch) -> None:
    case = load(slurm={"numa_bind": True})
    monkeypatch.setenv("DISAGG_VLLM", "/opt/vllm/bin/vllm")
    monkeypatch.setenv("DISAGG_VLLM_ROUTER", "/opt/router")
    assert server(case, "gen").argv[:4] == ("numactl", "-m 0,1", "/opt/vllm/bin/vllm", "serve")
    assert coordinator(case).argv[0] == "/opt/router"


def test_a_model_is_served_under_its_name_from_its_folder(load: LoadCase) -> None:
    argv = server(load(environment={"model_path": "/models/m-fp8"}), "gen").argv
    assert argv[:5] == ("vllm", "serve", "/models/m-fp8", "--served-model-name", "m")


def test_options_of_a_block(load: LoadCase) -> None:
    block = {
        "name": "ours",
        "max_model_len": 4096,
        "gpu_memory_utilization": 0.85,
        "quantization": "fp8",
        "enforce_eager": True,
        "enable_prefix_caching": False,
        "disable_log_stats": False,
        "seed": None,
        "speculative_config": {"method": "mtp", "num_speculative_tokens": 1},
        "cudagraph_capture_sizes": [1, 2, 4],
        "allowed_origins": ["*"],
        "middleware": ["a.B", "c.D"],
        "aggregate_engine_logging": True,
        "ignore_patterns": [],
        "disable_chunked_prefill": True,
    }
    argv = accepted(server(load(**workers(gen=block)), "gen")).argv
    assert argv[argv.index("--tensor-parallel-size") + 2 : argv.index("--kv-transfer-config")] == (
        *("--max-model-len", "4096", "--gpu-memory-utilization", "0.85", "--quantization", "fp8", "--enforce-eager"),
        *("--no-enable-prefix-caching", "--speculative-config", '{"method":"mtp","num_speculative_tokens":1}'),
        *("--cudagraph-capture-sizes", "1", "2", "4", "--allowed-origins", '["*"]'),
        *("--middleware", "a.B", "--middleware", "c.D", "--aggregate-engine-logging", "--disable-chunked-prefill"),
    )


def test_the_file_lies_over_the_transfer(load: LoadCase) -> None:
    given = {"kv_role": "kv_both", "kv_buffer_device": "cpu", "kv_connector_extra_config": {"backends": ["UCX"]}}
    assert kv(accepted(server(load(**workers(gen={"kv_transfer_config": given})), "gen"))) == {
        "kv_connector": "NixlConnector",
        "kv_role": "kv_both",
        "kv_load_failure_policy": "fail",
        "kv_buffer_device": "cpu",
        "kv_connector_extra_config": {"backends": ["UCX"]},
    }


def test_a_connector_within_others_gets_its_ports(load: LoadCase) -> None:
    inner = [{"kv_connector": "NixlConnector", "kv_role": "kv_both"}, {"kv_connector": "OffloadingConnector"}]
    config = {"kv_connector": "MultiConnector", "kv_connector_extra_config": {"connectors": inner}}
    launch = server(load(**workers(ctx={"kv_transfer_config": config})), "ctx")
    assert launch.env["VLLM_NIXL_SIDE_CHANNEL_PORT"] == "1001"
    config["kv_connector"] = "LMCacheConnectorV1"
    del config["kv_connector_extra_config"]
    assert server(load(**workers(ctx={"kv_transfer_config": config})), "ctx").env == {}


def test_mooncake_tells_the_router_its_bootstrap_ports(load: LoadCase) -> None:
    block = {"kv_transfer_config": {"kv_connector": "MooncakeConnector"}}
    case = load(**workers(ctx=block, gen=block))
    ctx, gen = server(case, "ctx"), server(case, "gen")
    environment = {"VLLM_HOST_IP": "n0", "VLLM_MOONCAKE_BOOTSTRAP_PORT": "1001"}
    assert (ctx.env, ctx.facts) == (environment, {"bootstrap_port": "1001"})
    assert gen.env == environment
    assert coordinator(case, ctx.facts).argv[9:] == (
        *("--vllm-pd-disaggregation", "--kv-connector", "mooncake"),
        *("--prefill", "http://n2:1", "1001", "--prefill", "http://n3:2", "1001", "--decode", "http://n1:3"),
        "--disable-retries",
    )
    # All nodes of a server have to go to the same port.
    several = load(**workers(gen={**block, "tensor_parallel_size": 8}, ctx={**block, "tensor_parallel_size": 8}))
    follower = server(several, "ctx", rank=1, nodes=2, lead={"bootstrap_port": "4711"})
    assert follower.env["VLLM_MOONCAKE_BOOTSTRAP_PORT"] == "4711"


def test_tensor_parallel_over_nodes(load: LoadCase) -> None:
    case = load(**workers(gen={"tensor_parallel_size": 4, "pipeline_parallel_size": 2, "api_server_count": 2}))
    first, second = (accepted(server(case, "gen", rank=rank, nodes=2)) for rank in (0, 1))
    meets = ("--master-addr", "n0", "--master-port", "77")
    sizes = ("--tensor-parallel-size", "4", "--pipeline-parallel-size", "2")
    transfers = ("--kv-transfer-config", CONSUMER)
    assert first.argv == (
        *(*HEAD, "--host", "n0", "--port", "1002", "--nnodes", "2", "--node-rank", "0", *meets),
        *(*sizes, "--api-server-count", "2", *transfers),
    )
    assert second.argv == (*HEAD, "--nnodes", "2", "--node-rank", "1", *meets, "--headless", *sizes, *transfers)
    assert (first.address, second.address) == ("n0:1002", "")
    assert first.env["VLLM_HOST_IP"] == "n0"
    assert second.env == {
        "VLLM_HOST_IP": "n1",
        "VLLM_NIXL_SIDE_CHANNEL_HOST": "n1",
        "VLLM_NIXL_SIDE_CHANNEL_PORT": "1001",
    }


def test_data_parallel_replicas_on_every_node(load: LoadCase) -> None:
    block = {"tensor_parallel_size": 2, "data_parallel_size": 6, "world_size": 12, "enable_expert_parallel": True}
    case = load(**workers(gen=block))
    first, last = (accepted(server(case, "gen", rank=rank, nodes=3)) for rank in (0, 2))
    meets = ("--data-parallel-address", "n0", "--data-parallel-rpc-port", "77")
    rest = ("--tensor-parallel-size", "2", "--data-parallel-size", "6", "--enable-expert-parallel")
    # The side channel has a port for each replica.
    assert first.argv[5:-2] == ("--host", "n0", "--port", "1007", "--data-parallel-size-local", "2", *meets, *rest)
    place = ("--headless", "--data-parallel-size-local", "2", "--data-parallel-start-rank", "4")
    assert last.argv[5:-2] == (*place, *meets, *rest)


def test_a_data_parallel_replica_over_nodes(load: LoadCase) -> None:
    case = load(**workers(gen={"tensor_parallel_size": 8, "data_parallel_size": 2, "world_size": 16}))
    first = accepted(server(case, "gen", nodes=4))
    assert first.facts == {"data_parallel_rpc_port": "1003"}
    assert first.argv[first.argv.index("--data-parallel-rpc-port") + 1] == "1003"
    last = accepted(server(case, "gen", rank=3, nodes=4, lead={"data_parallel_rpc_port": "4711"}))
    meets = ("--nnodes", "4", "--node-rank", "3", "--master-addr", "n0", "--master-port", "77")
    shake = ("--data-parallel-rpc-port", "4711", "--headless")
    assert last.argv[5:-2] == (*meets, *shake, "--tensor-parallel-size", "8", "--data-parallel-size", "2")


def test_the_router(load: LoadCase) -> None:
    own = {"policy": "round_robin", "mini_lb": False, "request_timeout_secs": 600}
    launch = coordinator(load(coordinator_config=own))
    assert launch.argv == (
        *("vllm-router", "--host", "n1", "--port", "1001", "--prometheus-host", "n1", "--prometheus-port", "1002"),
        *("--vllm-pd-disaggregation", "--prefill", "http://n2:1", "--prefill", "http://n3:2"),
        *("--decode", "http://n1:3", "--disable-retries", "--policy", "round_robin", "--request-timeout-secs", "600"),
    )
    assert (launch.address, launch.env, launch.files) == ("n1:1001", {}, {})
    assert coordinator(load()).argv == launch.argv[: launch.argv.index("--policy")]
    assert ENGINE.metrics_url("http://n1:1001", launch.facts) == "http://n1:1002/metrics"
    assert "--disable-retries" not in coordinator(load(coordinator_config={"disable_retries": False})).argv


def test_the_proxy(load: LoadCase, monkeypatch: pytest.MonkeyPatch) -> None:
    case = load(coordinator_config={"program": "proxy", "script": "/src/toy_proxy_server.py"})
    words = (
        *("/src/toy_proxy_server.py", "--host", "n1", "--port", "1001", "--prefiller-hosts", "n2", "n3"),
        *("--prefiller-ports", "1", "2", "--decoder-hosts", "n1", "--decoder-ports", "3"),
    )
    assert coordinator(case).argv == ("python3", *words)
    monkeypatch.setenv("DISAGG_VLLM_PYTHON", "/opt/vllm/bin/python")
    launch = coordinator(case)
    assert launch.argv == ("/opt/vllm/bin/python", *words)
    assert ENGINE.metrics_url("http://n1:1001", launch.facts) is None


def test_it_says_what_is_missing(load: LoadCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disagg, aggregated = load(), load(AGGREGATED)
    monkeypatch.setenv("PATH", str(tmp_path))
    for case in (disagg, aggregated):
        assert (ENGINE.unavailable(case) or "").startswith("vllm is not on PATH")
    (tmp_path / "vllm").touch(mode=0o755)
    assert ENGINE.unavailable(aggregated) is None
    assert (ENGINE.unavailable(disagg) or "").startswith("vllm-router is not on PATH (pip install vllm-router")
    (tmp_path / "vllm-router").touch(mode=0o755)
    assert ENGINE.unavailable(disagg) is None
    script = tmp_path / "proxy.py"
    proxied = load(coordinator_config={"program": "proxy", "script": str(script)})
    assert ENGINE.unavailable(proxied) == f"{script} (coordinator_config.script) is not there"
    script.touch()
    assert ENGINE.unavailable(proxied) is None


def test_every_node_of_a_server_starts_a_process_and_everything_may_be_sent(load: LoadCase) -> None:
    case = load()
    assert [ENGINE.on_every_node(case, spec) for spec in case.servers] == [True, True]
    assert ENGINE.around_pytest(case, case.servers[0]) == ()
    assert ENGINE.probe_policy("e2e") == ProbePolicy(probe=True, warmup=True, repeat=True)
