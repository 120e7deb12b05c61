from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_disagg.config import yaml
from pytest_disagg.config.schema import AggrFile, DisaggFile
from pytest_disagg.config.validate import validate
from pytest_disagg.errors import ConfigError, Problem

Write = Callable[..., Path]


def problems(path: Path) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        validate(yaml.load(path))
    return list(caught.value.problems)


def test_both_kinds(write: Write, disagg: str, aggregated: str) -> None:
    assert isinstance(validate(yaml.load(write("a.yaml", disagg))), DisaggFile)
    assert isinstance(validate(yaml.load(write("b.yaml", aggregated))), AggrFile)


def test_all_problems_at_once_in_the_order_of_their_lines(write: Write, disagg: str) -> None:
    text = (
        disagg.replace("tensor_parallel_size: 8", "tensor_parallel_size: four")
        .replace("gpus_per_node: 4", "gpus_per_node: 0")
        .replace("'4 8'", "'4 x'")
        .replace("metadata:\n", "metdata:\n")
    )
    path = write("x.yaml", f"{text}timeouts:\n  stal_s: 3\n  ready_s: soon\n")
    assert [str(problem) for problem in problems(path)] == [
        f"{path}:1: metdata: found the unknown key 'metdata', expected a known key (did you mean 'metadata'?)",
        f"{path}:5: benchmark.concurrency_list: found '4 x', expected positive whole numbers: one, a list, or text "
        "such as '1 2 4' or '1,2,4'",
        f"{path}:10: hardware.gpus_per_node: found 0, expected a whole number of at least 1",
        f"{path}:15: worker_config.gen.tensor_parallel_size: found 'four', expected a whole number of at least 1",
        f"{path}:22: timeouts.stal_s: found the unknown key 'stal_s', expected one of prepare_s, launch_s, ready_s, "
        "probe_s, warmup_s, measure_s, accuracy_s, request_s, store_s, stop_s, grace_s, stall_s, heartbeat_timeout_s "
        "(did you mean 'stall_s'?)",
        f"{path}:23: timeouts.ready_s: found 'soon', expected a number",
    ]


@pytest.mark.parametrize(
    ("old", "new", "key", "found", "expected"),
    [
        ("'4 8'", "[1, 0]", "benchmark.concurrency_list", "[1, 0]", "positive whole numbers"),
        ("'4 8'", "[]", "benchmark.concurrency_list", "[]", "positive whole numbers"),
        ("'4 8'", "''", "benchmark.concurrency_list", "''", "positive whole numbers"),
        ("'4 8'", "true", "benchmark.concurrency_list", "true", "positive whole numbers"),
        ("'4 8'", "[true]", "benchmark.concurrency_list", "[True]", "positive whole numbers"),
        ("'4 8'", "1.5", "benchmark.concurrency_list", "1.5", "positive whole numbers"),
        ("'4 8'", "{a: 1}", "benchmark.concurrency_list", "a mapping", "positive whole numbers"),
        ("'4 8'", "'8 8'", "benchmark.concurrency_list", "8 twice in '8 8'", "each concurrency once"),
        ("gpus_per_node: 4", "gpus_per_node: -4", "hardware.gpus_per_node", "-4", "at least 1"),
        ("gpus_per_node: 4", "gpus_per_node: true", "hardware.gpus_per_node", "true", "at least 1"),
        ("gpus_per_node: 4", "gpus_per_node: 4.0", "hardware.gpus_per_node", "4.0", "at least 1"),
        ("num_ctx_servers: 2", "num_ctx_servers: -1", "hardware.num_ctx_servers", "-1", "0 or more"),
        ("tensor_parallel_size: 8", "tensor_parallel_size: 0", "worker_config.gen.tensor_parallel_size", "0", "at lea"),
        ("multi_round: 3", "multi_round: 0", "benchmark.multi_round", "0", "at least 1"),
        ("mode: e2e", "streaming: 'yes'", "benchmark.streaming", "'yes'", "true or false"),
        ("mode: e2e", "benchmark_ratio: 1.5", "benchmark.benchmark_ratio", "1.5", "a number from 0 to 1"),
        ("mode: e2e", "request_rate: 0", "benchmark.request_rate", "0", "a number greater than 0"),
        ("some_model", "[1]", "metadata.model_name", "[1]", "a non-empty text"),
        ("gpus_per_node: 4", "gpus_per_node: <gpus>", "hardware.gpus_per_node", "a placeholder that nothing", "at le"),
    ],
)
def test_values_of_the_wrong_kind(
    write: Write, disagg: str, old: str, new: str, key: str, found: str, expected: str
) -> None:
    assert old in disagg
    (problem,) = problems(write("x.yaml", disagg.replace(old, new)))
    assert problem.key == key
    assert found in problem.found
    assert expected in problem.expected
    assert problem.line is not None


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("gpus_per_node", "a value: GPUs of one node"),
        ("num_ctx_servers", "a value: number of CTX servers"),
        ("num_gen_servers", "a value: number of GEN servers"),
    ],
)
def test_a_missing_count_points_at_its_block(write: Write, disagg: str, key: str, expected: str) -> None:
    text = "".join(line for line in disagg.splitlines(keepends=True) if key not in line)
    (problem,) = problems(write("x.yaml", text))
    assert (problem.key, problem.line, problem.found) == (f"hardware.{key}", 9, "nothing")
    assert problem.expected == expected


def test_a_missing_block(write: Write) -> None:
    (problem,) = problems(write("x.yaml", "worker_config: {gen: {}}\n"))
    assert (problem.key, problem.found, problem.expected) == ("hardware", "nothing", "a mapping")


@pytest.mark.parametrize(
    ("old", "new", "meant"),
    [
        ("benchmark:", "benchmrk:", "benchmark"),
        ("multi_round", "multi_rounds", "multi_round"),
        ("num_gen_servers", "num_gen_server", "num_gen_servers"),
        ("gpus_per_node", "gpu_per_node", "gpus_per_node"),
        ("  gen:", "  gne:", None),
        ("tensor_parallel_size: 8", "tensor_paralel_size: 8", "tensor_parallel_size"),
    ],
)
def test_a_slip_is_one_problem_with_a_suggestion(
    write: Write, disagg: str, old: str, new: str, meant: str | None
) -> None:
    path = write("x.yaml", disagg.replace(old, new, 1))
    if meant is None:
        validate(yaml.load(path))
        return
    (problem,) = problems(path)
    assert problem.hint == f"did you mean {meant!r}?"


def test_keys_of_an_engine_and_keys_nobody_knows_pass(write: Write, disagg: str) -> None:
    text = disagg.replace(
        "  gen:\n",
        "  gen:\n    moe_tensor_parallel_size: 2\n    moe_cluster_parallel_size: 2\n    cuda_graph_config: null\n"
        "    max_batch_sizes: 3\n    anything: {1: all}\n    moe_config: {0: a}\n",
    )
    validate(yaml.load(write("x.yaml", f"{text}nightly_owner: me\nprofiling:\nslurm:\nenvironment:\n")))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("worker_env_var: A=1 LOOSE", "the word 'LOOSE' without '='"),
        ("server_env_var: A='x", "No closing quotation"),
        ("worker_env_vars: A=1", "the unknown key 'worker_env_vars'"),
        ("client_env_var: {A: 1}", "a mapping"),
    ],
)
def test_environment_strings_are_checked(write: Write, disagg: str, line: str, found: str) -> None:
    (problem,) = problems(write("x.yaml", f"{disagg}environment:\n  {line}\n"))
    assert found in problem.found
    assert problem.line == 22


def test_an_environment_string_may_be_a_placeholder(write: Write, disagg: str) -> None:
    validate(yaml.load(write("x.yaml", f"{disagg}environment:\n  worker_env_var: <env>\n")))


@pytest.mark.parametrize(
    ("block", "key"),
    [
        ("slo: {ttft: 5}", "slo.ttft"),
        ("gate: {min_success_ratio: 2}", "gate.min_success_ratio"),
        ("gate: {min_success_ratio: true}", "gate.min_success_ratio"),
        ("sim: {decode_step: 5}", "sim.decode_step"),
        ("sim: {faults: [{role: GEN, kind: exit}]}", "sim.faults.0.role"),
        ("sim: {faults: [{role: GEN_0, kind: exits}]}", "sim.faults.0.kind"),
        ("timeouts: {ready_s: 0}", "timeouts.ready_s"),
        ("timeouts: {ready_s: .inf}", "timeouts.ready_s"),
        ("timeouts: {ready_s: .nan}", "timeouts.ready_s"),
        ("timeouts: 5", "timeouts"),
        ("engine: 5", "engine"),
        ("engine: Sim!", "engine"),
        ("server_config_extra: {port: 1}", "server_config_extra"),
        ("slurm: {timeout: -1}", "slurm.timeout"),
        ("slurm: {timeout: .inf}", "slurm.timeout"),
        ("slurm: {job_time: soon}", "slurm.job_time"),
        ("slurm: {job_time: 1.5}", "slurm.job_time"),
        ("cases: [aggr]", "cases.0"),
        ("hardwares: {}", "hardwares"),
    ],
)
def test_our_own_blocks_are_strict(write: Write, disagg: str, block: str, key: str) -> None:
    (problem,) = problems(write("x.yaml", f"{disagg}{block}\n"))
    assert problem.key == key
    assert problem.line == 21
    assert problem.expected


def test_a_literal_gets_a_suggestion(write: Write, disagg: str) -> None:
    (problem,) = problems(write("x.yaml", f"{disagg}sim: {{faults: [{{role: GEN_0, kind: exits}}]}}\n"))
    assert problem.hint == "did you mean 'exit'?"


def test_servers_of_one_name_would_share_files(write: Write, aggregated: str) -> None:
    (problem,) = problems(write("x.yaml", aggregated.replace("name: large", "name: small")))
    assert (problem.key, problem.line) == ("server_configs.1.name", 13)
    assert problem.found == "the name 'small' twice (lines 6 and 13)"


def test_loads_of_one_name_would_share_records(write: Write, aggregated: str) -> None:
    (problem,) = problems(write("x.yaml", aggregated.replace("name: second", "name: first")))
    assert problem.key == "server_configs.1.client_configs.1.name"


def test_unnamed_servers_that_derive_one_name(write: Write, aggregated: str) -> None:
    text = aggregated.replace("name: small", "x: 1").replace("name: large", "x: 1").replace("_size: 4", "_size: 1")
    (problem,) = problems(write("x.yaml", text))
    assert "some_model_tp1_ep1_pp1_cp1_bs512_attnTRTLLM_moe' twice" in problem.found


@pytest.mark.parametrize("name", ["a/b", "a,b", "a[1]", "''", " a"])
def test_a_server_name_that_cannot_be_part_of_a_file_name(write: Write, aggregated: str, name: str) -> None:
    quoted = name if name == "''" else f"'{name}'"
    path = write("x.yaml", aggregated.replace("name: small", f"name: {quoted}"))
    (problem,) = problems(path)
    assert problem.key == "server_configs.0.name"
    assert "it becomes part of file names" in problem.expected


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("concurrency: 4", "concurrency: '4 8'", "server_configs.0.client_configs.0.concurrency"),
        ("isl: 16", "isl: 0", "server_configs.0.client_configs.0.isl"),
        ("isl: 16", "client_env_var: x", "server_configs.0.client_configs.0.client_env_var"),
        ("isl: 16", "iteration: 2", "server_configs.0.client_configs.0.iteration"),
    ],
)
def test_loads_of_aggregated_servers(write: Write, aggregated: str, old: str, new: str, key: str) -> None:
    (problem,) = problems(write("x.yaml", aggregated.replace(old, new)))
    assert problem.key == key


def test_a_server_without_loads(write: Write) -> None:
    text = "hardware: {gpus_per_node: 4}\nserver_configs:\n- name: a\n- name: b\n  client_configs: []\n"
    assert [(p.key, p.line, p.found) for p in problems(write("x.yaml", text))] == [
        ("server_configs.0.client_configs", 3, "nothing"),
        ("server_configs.1.client_configs", 5, "[]"),
    ]


def test_neither_and_both_kinds(write: Write) -> None:
    (problem,) = problems(write("x.yaml", "server_config: []\n"))
    assert (problem.line, problem.hint) == (1, "did you mean 'server_configs'?")
    (problem,) = problems(write("x.yaml", "worker_config: {}\nserver_configs: []\n"))
    assert (problem.line, problem.found) == (2, "both worker_config and server_configs")
