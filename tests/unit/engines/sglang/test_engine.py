"""The complete commands of every kind of process, to the last word."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_disagg.config.case import Mode
from pytest_disagg.engines.protocol import ProbePolicy
from pytest_disagg.engines.registry import get
from pytest_disagg.engines.sglang.engine import SglangEngine
from tests.standins import sglang_server
from tests.unit.engines.sglang.conftest import (
    AGGREGATED,
    DOCUMENT,
    ENGINE,
    PYTHON,
    ROUTER,
    LoadCase,
    coordinator,
    gen_block,
    options_of,
    server,
)

SIMULATED = {kind: {**block, "backend": "sim"} for kind, block in DOCUMENT["worker_config"].items()}
SIMULATED["gen"].pop("mem_fraction_static")
SIMULATED["ctx"].pop("disable_radix_cache")


def test_it_is_the_registered_engine() -> None:
    assert isinstance(get("sglang"), SglangEngine)


def test_a_ctx_server(load: LoadCase) -> None:
    launch = server(load(), "ctx")
    assert launch.argv == (
        *(PYTHON, "-m", "sglang.launch_server", "--model-path", "m", "--served-model-name", "m"),
        *("--host", "n1", "--port", "7001"),
        *("--disaggregation-mode", "prefill", "--disaggregation-bootstrap-port", "7002"),
        *("--tp-size", "4", "--enable-metrics", "--disable-radix-cache"),
    )
    assert (launch.address, launch.address_file, dict(launch.files)) == ("n1:7001", None, {})
    assert launch.facts == {"bootstrap_port": "7002"}
    assert launch.env == {"PYTHONUNBUFFERED": "1"}


@pytest.mark.parametrize("rank", [0, 1])
def test_a_gen_server_of_two_nodes_has_a_process_on_each(load: LoadCase, rank: int) -> None:
    launch = server(load(), "gen", host=f"n{rank + 1}", rank=rank, nodes=2)
    assert launch.argv == (
        *(PYTHON, "-m", "sglang.launch_server", "--model-path", "m", "--served-model-name", "m"),
        *("--host", f"n{rank + 1}", "--port", "7001", "--disaggregation-mode", "decode"),
        *("--nnodes", "2", "--node-rank", str(rank), "--dist-init-addr", "n1:6000"),
        *("--tp-size", "8", "--enable-metrics", "--mem-fraction-static", "0.85"),
    )
    assert (launch.address, launch.facts) == (f"n{rank + 1}:7001", {})


def test_all_nodes_of_a_server_have_the_bootstrap_port_of_the_first(load: LoadCase) -> None:
    case = load()
    assert server(case, "ctx", nodes=2).facts == {"bootstrap_port": "7002"}
    second = server(case, "ctx", rank=1, nodes=2, lead={"bootstrap_port": "4711"})
    assert second.argv[second.argv.index("--disaggregation-bootstrap-port") + 1] == "4711"


def test_an_aggregated_server(load: LoadCase) -> None:
    launch = server(load(AGGREGATED), "server", host="::1")
    assert options_of(launch) == [
        *("--model-path", "m", "--served-model-name", "m", "--host", "::1", "--port", "7001"),
        *("--tp-size", "4", "--enable-metrics"),
    ]
    assert (launch.address, launch.facts) == ("[::1]:7001", {})


def test_memory_of_all_nodes_of_a_machine(load: LoadCase) -> None:
    launch = server(load(slurm={"timeout": 600, "numa_bind": True}), "gen")
    assert launch.argv[:4] == ("numactl", "-m 0,1", PYTHON, "-m")


def test_the_router(load: LoadCase) -> None:
    launch = coordinator(load())
    assert launch.argv == (
        *(ROUTER, "-m", "sglang_router.launch_router", "--host", "n1", "--port", "7001"),
        *("--prometheus-host", "n1", "--prometheus-port", "7002", "--pd-disaggregation"),
        *("--prefill", "http://n2:1", "8001", "--prefill", "http://[fd00::3]:2", "8002"),
        *("--decode", "http://n1:3", "--disable-retries"),
    )
    assert (launch.address, launch.address_file) == ("n1:7001", None)
    assert ENGINE.metrics_url("http://n1:7001", launch.facts) == "http://n1:7002/metrics"
    assert ENGINE.metrics_url("http://n1:7001", {}) == "http://n1:7001/metrics"


def test_the_routers_own_options(load: LoadCase) -> None:
    block = {"policy": "round_robin", "disable_retries": False, "request_id_headers": ["a", "b"], "dp_aware": True}
    words = options_of(coordinator(load(coordinator_config=block)))
    assert words[words.index("--decode") + 2 :] == [
        *("--policy", "round_robin", "--request-id-headers", "a", "b", "--dp-aware"),
    ]


def test_simulated_servers_behind_the_router(load: LoadCase) -> None:
    case = load(worker_config=SIMULATED)
    ctx, gen = server(case, "ctx"), server(case, "gen")
    assert ctx.argv[1:6] == ("-m", "pytest_disagg.engines.sim", "server", "--kind", "ctx")
    assert (ctx.facts, gen.facts) == ({"bootstrap_port": "7001"}, {})
    told = {text["role"]: text for launch in (ctx, gen) for text in map(json.loads, launch.files.values())}
    assert {role: text["bootstrap_port"] for role, text in told.items()} == {"CTX_0": 7001, "GEN_0": 0}
    assert not any(ENGINE.on_every_node(case, spec) for spec in case.servers)
    # The router is the real one.
    assert coordinator(case).argv[:3] == (ROUTER, "-m", "sglang_router.launch_router")


def test_every_node_starts_its_own_ranks(load: LoadCase) -> None:
    case = load()
    assert all(ENGINE.on_every_node(case, spec) for spec in case.servers)
    assert {ENGINE.around_pytest(case, spec) for spec in case.servers} == {()}


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"pipeline_parallel_size": 2, "world_size": 16}, ["--tp-size", "8", "--pp-size", "2"]),
        ({"enable_attention_dp": True}, ["--tp-size", "8", "--attn-dp-size", "8"]),
        ({"enable_attention_dp": True, "attn_dp_size": 4}, ["--tp-size", "8", "--attn-dp-size", "4"]),
        ({"enable_dp_attention": True, "dp_size": 2}, ["--tp-size", "8", "--attn-dp-size", "2"]),
        ({"tensor_parallel_size": 2, "dp_size": 2, "world_size": 4}, ["--tp-size", "2", "--dp-size", "2"]),
        ({"dp_size": 1}, ["--tp-size", "8"]),
        ({"max_batch_size": 16}, ["--tp-size", "8", "--max-running-requests", "16"]),
        # A batch is that of each attention rank in a case file, of all of them in SGLang.
        (
            {"max_batch_size": 16, "enable_attention_dp": True},
            ["--tp-size", "8", "--attn-dp-size", "8", "--max-running-requests", "128"],
        ),
        (
            {"max_batch_size": 16, "attn_dp_size": 4, "enable_dp_attention": False},
            ["--tp-size", "8", "--attn-dp-size", "4", "--max-running-requests", "64"],
        ),
    ],
)
def test_sizes_under_sglangs_names(load: LoadCase, keys: dict[str, Any], expected: list[str]) -> None:
    words = options_of(server(load(worker_config=gen_block(**keys)), "gen"))
    assert words[words.index("--tp-size") : words.index("--enable-metrics")] == expected


def test_options_in_the_files_order(load: LoadCase) -> None:
    keys: dict[str, Any] = {
        "moe_expert_parallel_size": 8,
        "max_seq_len": 4096,
        "context_parallel_size": 1,
        "cuda_graph_bs_decode": [1, 2, 4],
        "json_model_override_args": {"rope_scaling": {"factor": 2.0}},
        "forward_hooks": [{"name": "a"}],
        "trust_remote_code": True,
        "disable_overlap_schedule": False,
        "enable_tp_lm_head_all_to_all": False,
        "enable_lora": True,
        "chat_template": None,
        "enable_metrics": False,
        "stream_interval": 4,
    }
    words = options_of(server(load(worker_config=gen_block(**keys)), "gen"))
    assert words[words.index("--tp-size") :] == [
        *("--tp-size", "8", "--mem-fraction-static", "0.85", "--ep-size", "8", "--context-length", "4096"),
        *("--cuda-graph-bs-decode", "1", "2", "4"),
        *("--json-model-override-args", '{"rope_scaling":{"factor":2.0}}', "--forward-hooks", '[{"name":"a"}]'),
        *("--trust-remote-code", "--no-enable-tp-lm-head-all-to-all", "--enable-lora", "--stream-interval", "4"),
    ]


def test_sglang_has_every_option_that_we_give_by_ourselves(load: LoadCase) -> None:
    keys = {"enable_attention_dp": True, "pipeline_parallel_size": 2, "max_batch_size": 8, "max_seq_len": 64}
    case = load(worker_config=gen_block(**keys, moe_expert_parallel_size=8))
    for launch in (server(case, "gen", nodes=4), server(case, "ctx"), server(load(AGGREGATED), "server")):
        sglang_server.options(options_of(launch))


@pytest.mark.parametrize("mode", ["e2e", "aggregated", "ctx_only"])
def test_everything_may_be_sent_before_the_load(mode: Mode) -> None:
    assert ENGINE.probe_policy(mode) == ProbePolicy(probe=True, warmup=True, repeat=True)
    assert not ENGINE.iteration_logs()
