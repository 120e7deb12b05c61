"""What is wrong with a case is said before anything starts, with its key; and what vLLM itself has to refuse."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_disagg.engines.vllm.engine import OWNED
from pytest_disagg.engines.vllm.flags import JSON_LISTS, ONE_WAY, REPEATED
from pytest_disagg.errors import ConfigError
from tests.standins import vllm_serve
from tests.unit.engines.vllm.conftest import AGGREGATED, DOCUMENT, ENGINE, LoadCase, coordinator, server, workers

MOONCAKE = {"kv_transfer_config": {"kv_connector": "MooncakeConnector"}}
PROXY = {"program": "proxy", "script": "p.py"}


def refused(load: LoadCase, **changes: Any) -> list[tuple[str, str, str]]:
    case = load(**changes)
    with pytest.raises(ConfigError) as caught:
        ENGINE.check(case)
    with pytest.raises(ConfigError) as same:
        server(case, "gen")
    assert str(caught.value) == str(same.value)
    with pytest.raises(ConfigError) as same:
        coordinator(case)
    assert str(caught.value) == str(same.value)
    assert all(problem.path == case.path for problem in caught.value.problems)
    return [(problem.key, problem.found, problem.expected) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("block", "key", "words"),
    [
        ({"port": 8000}, "port", "nothing: the run says where a server listens"),
        ({"nnodes": 2}, "nnodes", "nothing: the run places nodes and ranks"),
        ({"served_model_name": ["x"]}, "served_model_name", "metadata.model_name"),
        ({"hf_token": "hf_x"}, "hf_token", "HF_TOKEN in the environment"),
        ({"max-model-len": 8}, "max-model-len", "lower case with underscores"),
        ({"kv_transfer_config.kv_role": "x"}, "kv_transfer_config.kv_role", "as a mapping"),
        ({"data_parallel_size": "2"}, "data_parallel_size", "a positive integer"),
        ({"data_parallel_size": 2}, "world_size", "8: tensor_parallel_size x data_parallel_size"),
        ({"tensor_parallel_size": 6}, "world_size", "whole nodes of 4 GPUs"),
        ({"tensor_parallel_size": 3, "data_parallel_size": 4, "world_size": 12}, "world_size", "whole replicas"),
        (
            {"tensor_parallel_size": 8, "distributed_executor_backend": "ray"},
            "distributed_executor_backend",
            "mp: every node starts a process of its own",
        ),
        ({"kv_transfer_config": "nixl"}, "kv_transfer_config", "a mapping"),
        ({"kv_transfer_config": {"engine_id": "a"}}, "kv_transfer_config.engine_id", "nothing: every server"),
        ({"kv_transfer_config": {"kv_port": 1}}, "kv_transfer_config.kv_port", "nothing: every server"),
        ({"kv_transfer_config": {"kv_role": "kv_producer"}}, "kv_transfer_config.kv_role", "kv_consumer or kv_both"),
        (
            {"kv_transfer_config": {"kv_connector": "P2pNcclConnector"}},
            "kv_transfer_config.kv_connector",
            "a connector that needs no address of the coordinator",
        ),
        (MOONCAKE, "kv_transfer_config.kv_connector", "the connector of worker_config.ctx"),
    ],
)
def test_blocks_of_servers(load: LoadCase, block: dict[str, Any], key: str, words: str) -> None:
    ((found_key, _, expected),) = refused(load, **workers(gen=block))
    assert found_key == f"worker_config.gen.{key}"
    assert words in expected


def test_all_problems_are_said_at_once(load: LoadCase) -> None:
    found = refused(load, **workers(gen={"port": 1}, ctx={"host": "h"}), coordinator_config={"prefill": []})
    assert [key for key, _, _ in found] == [
        "worker_config.gen.port",
        "worker_config.ctx.host",
        "coordinator_config.prefill",
    ]


@pytest.mark.parametrize(
    ("block", "key", "words"),
    [
        ({"program": "nginx"}, "program", "vllm-router or proxy"),
        ({"port": 1}, "port", "nothing: the run gives it"),
        ({"kv_connector": "nixl"}, "kv_connector", "nothing: the run gives it"),
        ({"pd_kv_events": ["http://a=tcp://a:1"]}, "pd_kv_events", "nothing: only the run knows where servers are"),
        ({"script": "p.py"}, "script", "nothing, or program: proxy"),
        ({"program": "proxy"}, "script", "the path of the proxy's script"),
        ({**PROXY, "decoder_ports": [1]}, "decoder_ports", "nothing: the run gives it"),
    ],
)
def test_the_block_of_the_coordinator(load: LoadCase, block: dict[str, Any], key: str, words: str) -> None:
    ((found_key, _, expected),) = refused(load, coordinator_config=block)
    assert found_key == f"coordinator_config.{key}"
    assert words in expected


def test_the_proxy_speaks_no_mooncake(load: LoadCase) -> None:
    ((key, found, _),) = refused(load, **workers(ctx=MOONCAKE, gen=MOONCAKE), coordinator_config=PROXY)
    assert (key, found) == ("coordinator_config.program", "proxy")


@pytest.mark.parametrize("mode", ["gen_only", "gen_only_no_context"])
def test_modes_that_vllm_has_not(load: LoadCase, mode: str) -> None:
    benchmark = {**DOCUMENT["benchmark"], "mode": mode}
    ((key, found, _),) = refused(load, cases=["disagg-gen_only"], benchmark=benchmark)
    assert (key, found) == ("benchmark.mode", "gen_only")


def test_an_aggregated_server_names_its_block(load: LoadCase) -> None:
    one = {**AGGREGATED["server_configs"][0], "uds": "/tmp/s"}
    with pytest.raises(ConfigError, match=r"server_configs\.0\.uds"):
        server(load(AGGREGATED, server_configs=[one]), "server")


def test_what_is_said_of_vllms_options_is_true_of_its_list() -> None:
    kinds = {name.replace("-", "_"): kind for name, kind in vllm_serve.options().items()}
    assert len(kinds) == 321
    assert OWNED.keys() - kinds.keys() == {"model_tag"}
    assert {key for key, kind in kinds.items() if kind == "oneway"} - OWNED.keys() == ONE_WAY
    assert {key for key, kind in kinds.items() if kind == "json"} == JSON_LISTS
    assert {key for key, kind in kinds.items() if kind == "repeated"} == REPEATED


def test_the_stand_in_refuses_what_vllm_has_not(load: LoadCase, capsys: pytest.CaptureFixture[str]) -> None:
    argv = server(load(**workers(gen={"max_num_seq": 8, "disable_log_stats": True})), "gen").argv
    with pytest.raises(SystemExit) as caught:
        vllm_serve.parser().parse_args(argv[2:])
    assert caught.value.code == 2
    assert "error: unrecognized arguments: --max-num-seq 8" in capsys.readouterr().err
