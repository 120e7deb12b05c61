"""Which placeholders stop a case: those that would reach a process."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pytest_disagg.config.case import Case
from pytest_disagg.config.resolve import load_case
from pytest_disagg.config.settings import Settings
from pytest_disagg.errors import ConfigError
from pytest_disagg.topology.filled import check_filled

DISAGG = """\
metadata: {model_name: m}
hardware: {gpus_per_node: 4, num_ctx_servers: 1, num_gen_servers: 1}
environment: {model_path: <model_path>, worker_env_var: %(env)s}
benchmark: {mode: %(mode)s, dataset_file: <dataset_file>}
worker_config:
  ctx: {tensor_parallel_size: 1, moe_config: {load_balancer: <balancer>}}
  gen: {tensor_parallel_size: 1}
"""
AGGR = """\
metadata: {model_name: m}
hardware: {gpus_per_node: 4}
server_configs:
  - {name: one, eplb: <balancer>, client_configs: [{concurrency: 1, dataset_file: <data>}]}
  - {tensor_parallel_size: 2, client_configs: [{concurrency: 1, dataset_file: <data>}]}
"""


def case_of(tmp_path: Path, text: str, case_id: str, **settings: str) -> Case:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    assert yaml.safe_load(text)
    return load_case(case_id, path=path, dirs=(), settings=Settings(**settings), environ={})  # type: ignore[arg-type]


def disagg(tmp_path: Path, env: str = "<env>", mode: str = "e2e", case: str = "e2e", **settings: str) -> Case:
    return case_of(tmp_path, DISAGG % {"env": env, "mode": mode}, f"disagg-{case}-x", **settings)


def test_what_a_server_would_be_handed_has_to_be_filled(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        check_filled(disagg(tmp_path))
    (problem,) = raised.value.problems
    assert (problem.key, problem.line) == ("worker_config.ctx.moe_config.load_balancer", 6)
    assert "found the unfilled placeholder <balancer>, expected a value: --disagg-set worker_config.ctx" in str(problem)
    assert str(problem).endswith("load_balancer=..., or BALANCER")


def test_a_server_that_is_not_started_is_not_looked_at(tmp_path: Path) -> None:
    check_filled(disagg(tmp_path, mode="gen_only_no_context", case="gen_only"))


def test_simulated_servers_read_nothing_of_it(tmp_path: Path) -> None:
    check_filled(disagg(tmp_path, engine="sim"))


@pytest.mark.parametrize("engine", ["sim", "trtllm"])
def test_a_value_within_an_environment_string_has_to_be_filled(tmp_path: Path, engine: str) -> None:
    case = disagg(tmp_path, '"A=1 B=<b>"', "gen_only_no_context", "gen_only", engine=engine)
    with pytest.raises(ConfigError, match=r"environment\.worker_env_var: found the unfilled placeholder <b>"):
        check_filled(case)


def test_of_an_aggregated_file_the_selected_servers_count(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"server_configs\.0\.eplb"):
        check_filled(case_of(tmp_path, AGGR, "aggr-x-one"))
    check_filled(case_of(tmp_path, AGGR, "aggr-x-m_tp2_ep1_pp1_cp1_bs512_attnTRTLLM_moe"))
