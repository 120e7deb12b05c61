"""The files of servers and coordinator: the case's blocks, and what the harness adds and takes away."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.errors import ConfigError
from pytest_disagg.redact import redact
from tests.unit.engines.trtllm.conftest import (
    AGGREGATED,
    DOCUMENT,
    ENGINE,
    SITE,
    LoadCase,
    coordinator,
    document_of,
    server,
)

KEY = "internal_request_auth_key"


def gen(**keys: Any) -> dict[str, Any]:
    return {"worker_config": {**DOCUMENT["worker_config"], "gen": {"tensor_parallel_size": 8, **keys}}}


def test_a_workers_file_is_its_block_without_the_harness_keys_behind_the_auth_key(load: LoadCase) -> None:
    block = {
        "kv_cache_config": {"dtype": "fp8"},
        "backend": "pytorch",
        "name": "x",
        "match_mode": "scenario",
        "new": [1],
    }
    found = document_of(server(load(**gen(**block)), "gen"))
    assert list(found) == [KEY, "tensor_parallel_size", "kv_cache_config", "new"]
    assert found[KEY] == "k" * 64


def test_an_aggregated_servers_file_has_no_key(load: LoadCase) -> None:
    assert document_of(server(load(AGGREGATED), "server")) == {"tensor_parallel_size": 4}


def test_the_files_own_key_counts_and_is_masked_from_then_on(load: LoadCase) -> None:
    case = load(**{KEY: "chosen-by-hand-4711"})
    assert document_of(server(case, "gen"))[KEY] == "chosen-by-hand-4711"
    assert document_of(coordinator(case))[KEY] == "chosen-by-hand-4711"
    assert redact("it said chosen-by-hand-4711") == "it said ***"


def test_a_key_of_one_server_is_refused(load: LoadCase) -> None:
    with pytest.raises(ConfigError, match=r"worker_config\.gen\.internal_request_auth_key: found a key, expected"):
        server(load(**gen(**{KEY: "of-gen-alone-4711"})), "ctx")


def test_what_lies_below_the_block(load: LoadCase, tmp_path: Path) -> None:
    (tmp_path / "extra.yml").write_text("a: 1\nkv_cache_config: {dtype: auto, below: 1}\n")
    case = load(**gen(extra_llm_api_config_path="extra.yml", kv_cache_config={"dtype": "fp8"}))
    found = document_of(server(case, "gen", replace(SITE, llm_src=tmp_path)))
    assert list(found) == ["a", "kv_cache_config", KEY, "tensor_parallel_size"]
    assert found["kv_cache_config"] == {"dtype": "fp8"}


def test_a_file_below_that_is_not_there(load: LoadCase, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"worker_config\.gen\.extra_llm_api_config_path: found .*gone\.yml.*llm-src"):
        server(load(**gen(extra_llm_api_config_path="gone.yml")), "gen", replace(SITE, llm_src=tmp_path))


def test_paths_that_are_completed(load: LoadCase, tmp_path: Path) -> None:
    block = {"speculative_config": {"speculative_model": "eagle"}, "moe_config": {"load_balancer": "lb.yaml"}}
    case = load(**gen(**block))
    site = replace(SITE, models_root=Path("/models"), llm_src=Path("/src"))
    found = document_of(server(case, "gen", site))
    assert found["speculative_config"] == {"speculative_model": "/models/eagle"}
    assert found["moe_config"] == {"load_balancer": "/src/lb.yaml"}
    # The case stays as it was: every server of the kind is asked for from the same one.
    assert document_of(server(case, "gen", site)) == found
    assert document_of(server(case, "gen"))["speculative_config"] == {"speculative_model": "eagle"}


def test_a_load_balancer_that_is_no_path_stays(load: LoadCase) -> None:
    block = {"moe_config": {"load_balancer": {"num_slots": 288}}}
    site = replace(SITE, llm_src=Path("/src"))
    assert document_of(server(load(**gen(**block)), "gen", site))["moe_config"] == block["moe_config"]


def test_the_list_of_servers(load: LoadCase) -> None:
    found = document_of(coordinator(load()))
    assert found == {
        "hostname": "n1",
        "port": 0,
        "backend": "pytorch",
        KEY: "k" * 64,
        "context_servers": {"num_instances": 2, "urls": ["n2:1", "n3:2"]},
        "generation_servers": {"num_instances": 1, "urls": ["n1:3"]},
    }
    assert list(found)[:4] == ["hostname", "port", "backend", KEY]


def test_routers_and_extra(load: LoadCase) -> None:
    case = load(
        router_config={"type": "round_robin"},
        gen_router_config={"type": "kv_cache_aware"},
        server_config_extra={"num_workers": 1, "max_retries": 3, "backend": "other"},
    )
    found = document_of(coordinator(case))
    assert found["context_servers"]["router"] == {"type": "round_robin"}
    assert found["generation_servers"]["router"] == {"type": "kv_cache_aware"}
    assert {name: found[name] for name in ("num_workers", "max_retries", "backend")} == {
        "num_workers": 1,
        "max_retries": 3,
        "backend": "other",
    }


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({"num_workers": 2}, "server_config_extra.num_workers: found 2, expected 1"),
        ({"num_workers": "two"}, "server_config_extra.num_workers: found 'two', expected 1"),
        ({"disagg_coordinator_url": "http://x"}, "server_config_extra.disagg_coordinator_url: found a URL"),
    ],
)
def test_extra_that_the_run_cannot_give_is_refused_before_a_server_starts(
    load: LoadCase, extra: dict[str, Any], words: str
) -> None:
    case = load(server_config_extra=extra)
    with pytest.raises(ConfigError) as raised:
        server(case, "ctx")
    assert words in str(raised.value)
    with pytest.raises(ConfigError, match="server_config_extra"):
        coordinator(case)
    with pytest.raises(ConfigError, match="server_config_extra"):
        ENGINE.check(case)
