"""What a case file cannot say to SGLang or to its router: found before anything starts, with file, line and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.engines.sglang.flags import TWO_WAY
from pytest_disagg.engines.sglang.options import REFUSED, REFUSED_BY_ROUTER
from pytest_disagg.errors import ConfigError
from tests.standins.sglang_server import FLAGS
from tests.unit.engines.sglang.conftest import AGGREGATED, DOCUMENT, ENGINE, LoadCase, coordinator, gen_block, server


def refusal(load: LoadCase, document: dict[str, Any] = DOCUMENT, **changes: Any) -> str:
    """What is said before anything starts, and by the server's role and the coordinator's: it is the same."""
    case = load(document, **changes)
    with pytest.raises(ConfigError) as found:
        ENGINE.check(case)
    said = str(found.value)
    with pytest.raises(ConfigError) as found:
        server(case, case.servers[0].kind)
    assert str(found.value) == said
    if case.id.runtime == "disagg":
        with pytest.raises(ConfigError) as found:
            coordinator(case)
        assert str(found.value) == said
    return said


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("port", 30000, "nothing: the run gives it"),
        ("node_rank", 1, "nothing: the run gives it"),
        ("dist_init_addr", "n1:5000", "nothing: the run gives it"),
        ("disaggregation_mode", "prefill", "nothing: it follows from whose block this is"),
        ("disaggregation_bootstrap_port", 8998, "nothing: the run chooses it for each CTX server"),
        ("api_key", "abc", "nothing: a command line is seen by everybody on the node"),
        ("tp_size", 8, "tensor_parallel_size: the harness places servers by it"),
        ("data_parallel_size", 2, "dp_size"),
        ("ssl_keyfile", "/k", "nothing: the run speaks plain HTTP"),
        ("grpc_mode", True, "nothing: the run speaks plain HTTP"),
        ("context_parallel_size", 2, "attn_cp_size: in SGLang it lies within the tensor-parallel size"),
        ("max_num_tokens", 8192, "chunked_prefill_size, or max_prefill_tokens"),
        ("kv_cache_config", {"dtype": "fp8"}, "mem_fraction_static, kv_cache_dtype, disable_radix_cache"),
        ("--mem-fraction-static", 0.9, "an option's name in lower case with underscores, without dashes"),
    ],
)
def test_keys_that_a_worker_cannot_have(load: LoadCase, tmp_path: Path, key: str, value: Any, expected: str) -> None:
    text = refusal(load, worker_config=gen_block(**{key: value}))
    lines = (tmp_path / "c.yaml").read_text().splitlines()
    (line,) = (number for number, line in enumerate(lines, 1) if line.strip().startswith((f"{key}:", f"'{key}':")))
    assert f"c.yaml:{line}: worker_config.gen.{key}: found " in text
    assert f"expected {expected}" in text


def test_a_secret_is_not_shown(load: LoadCase) -> None:
    text = refusal(load, worker_config=gen_block(api_key="abc-0815"), coordinator_config={"api_key": "abc-0815"})
    assert "coordinator_config.api_key: found a secret, expected nothing: a command line is seen by" in text
    assert "abc-0815" not in text


def test_all_that_is_wrong_is_said_at_once(load: LoadCase) -> None:
    text = refusal(load, worker_config=gen_block(host="a", moe_config={"backend": "x"}), coordinator_config={"port": 1})
    for key in ("worker_config.gen.host", "worker_config.gen.moe_config", "coordinator_config.port"):
        assert f"{key}: found " in text


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("prefill", ["http://a 1"]),
        ("mini_lb", True),
        ("tls_key_path", "/k"),
        ("control_plane_api_keys", ["k:n:admin:s"]),
    ],
)
def test_keys_that_the_router_cannot_have(load: LoadCase, key: str, value: Any) -> None:
    text = refusal(load, coordinator_config={key: value})
    assert f"coordinator_config.{key}: found " in text
    assert REFUSED_BY_ROUTER[key] in text


@pytest.mark.parametrize("mode", ["gen_only", "gen_only_no_context"])
def test_there_is_no_fill_gate(load: LoadCase, mode: str) -> None:
    benchmark = {**DOCUMENT["benchmark"], "mode": mode}
    text = refusal(load, cases=["disagg-gen_only"], benchmark=benchmark)
    assert "SGLang has no gate that holds GEN servers" in text


def test_the_router_needs_servers_of_both_kinds(load: LoadCase) -> None:
    # The older grammar says no mode in the id, and drops CTX servers where the file says so.
    case = load()
    without_ctx = type(case)(**{**vars(case), "servers": tuple(s for s in case.servers if s.kind == "gen")})
    with pytest.raises(ConfigError, match="0 CTX and 1 GEN servers"):
        server(without_ctx, "gen")


@pytest.mark.parametrize("backend", ["trtllm", "sim"])
def test_backends_are_two_and_the_same_for_all(load: LoadCase, backend: str) -> None:
    text = refusal(load, worker_config=gen_block(backend=backend))
    assert f"worker_config.gen.backend: found '{backend}', expected one of sglang, sim, for all servers" in text


@pytest.mark.parametrize(
    ("keys", "key", "words"),
    [
        ({"tensor_parallel_size": 2, "dp_size": 2}, "world_size", "found 2, expected 4: tensor_parallel_size x"),
        ({"world_size": 12}, "world_size", "found 12, expected 8: tensor_parallel_size x"),
        (
            {"tensor_parallel_size": 6},
            "world_size",
            "found 6 GPUs, pipeline_parallel_size 1, expected whole nodes of 4 GPUs",
        ),
        (
            {"tensor_parallel_size": 4, "pipeline_parallel_size": 3, "gpus_per_node": 6},
            "world_size",
            "found 12 GPUs, pipeline_parallel_size 3, expected whole nodes of 6 GPUs",
        ),
        # As SGLang says it itself, minutes later: multi-node data-parallel replicas are not supported.
        ({"dp_size": 2, "world_size": 16}, "dp_size", "found 2, expected 1, or attn_dp_size alone"),
        (
            {"tensor_parallel_size": 2, "dp_size": 2, "attn_dp_size": 2},
            "dp_size",
            "found 2, expected 1, or attn_dp_size alone",
        ),
        ({"attn_dp_size": 3}, "attn_dp_size", "found 3, expected a divisor of tensor_parallel_size (8)"),
        ({"enable_attention_dp": True, "dp_size": 5}, "dp_size", "found 5, expected a divisor of tensor_parallel_size"),
        ({"dp_size": "two"}, "dp_size", "found 'two', expected a positive integer"),
        ({"attn_dp_size": True}, "attn_dp_size", "found True, expected a positive integer"),
    ],
)
def test_sizes_that_do_not_fit(load: LoadCase, keys: dict[str, Any], key: str, words: str) -> None:
    block = {name: value for name, value in keys.items() if name != "gpus_per_node"}
    hardware = {**DOCUMENT["hardware"], "gpus_per_node": keys.get("gpus_per_node", 4)}
    text = refusal(load, worker_config=gen_block(**block), hardware=hardware)
    (line,) = (line for line in text.splitlines() if "worker_config.gen" in line)
    assert f"worker_config.gen.{key}: {words}" in line


def test_an_aggregated_server_names_its_block(load: LoadCase) -> None:
    one = {**AGGREGATED["server_configs"][0], "dp_size": "two"}
    text = refusal(load, AGGREGATED, server_configs=[one])
    assert "server_configs.0.dp_size: found 'two', expected a positive integer" in text


def test_simulated_servers_take_what_sim_takes(load: LoadCase) -> None:
    blocks = {kind: {"backend": "sim", "max_num_tokens": 512, "stream_interval": 2} for kind in ("gen", "ctx")}
    (text,) = server(load(worker_config=blocks), "gen").files.values()
    assert '"prefill_chunk_tokens": 512' in text


def test_what_is_said_of_sglangs_switches_is_true_of_its_list() -> None:
    negated = {flag.removeprefix("--no-").replace("-", "_") for flag in FLAGS["switch"] if flag.startswith("--no-")}
    assert negated == TWO_WAY


def test_what_is_refused_for_another_option_names_one_that_sglang_has() -> None:
    mentioned = {word for hint in REFUSED.values() for word in hint.replace(",", " ").split() if "_" in word}
    ours = {"tensor_parallel_size:", "pipeline_parallel_size:", "sglang.launch_server"}
    known = {flag for kind in ("switch", "value", "words") for flag in FLAGS[kind]}
    for word in mentioned - ours:
        assert f"--{word.rstrip(':').replace('_', '-')}" in known, word
