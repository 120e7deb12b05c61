"""Records: names and types of their fields, their id, the file they are kept in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_disagg.config.case import Case
from pytest_disagg.config.resolve import Settings, load_cases
from pytest_disagg.errors import ConfigError
from pytest_disagg.records.record import Identity, Judgement, append, build, document_id, read, typed

DISAGG = """
metadata: {model_name: Some-Model, precision: fp4}
benchmark: {concurrency_list: "4 8", multi_round: 2, input_length: 64, output_length: 8}
hardware: {gpus_per_node: 4, num_ctx_servers: 1, num_gen_servers: 2}
environment: {server_env_var: HF_TOKEN=abcdefgh A=1}
worker_config:
  ctx: {tensor_parallel_size: 2, cuda_graph_config: null}
  gen:
    tensor_parallel_size: 8
    pipeline_parallel_size: 2
    max_batch_size: 32
    kv_cache_config: {free_gpu_memory_fraction: 1}
    moe_config: {backend: CUTLASS, load_balancer: {num_slots: 288}}
    cuda_graph_config: {batch_sizes: [1, 2, 4]}
    speculative_config: {decoding_type: MTP, num_nextn_predict_layers: 3}
"""
AGGREGATED = """
metadata: {model_name: m}
hardware: {gpus_per_node: 4}
server_configs:
  - {name: small, tensor_parallel_size: 1, client_configs: [{concurrency: 4}]}
  - {name: large, tensor_parallel_size: 8, client_configs: [{concurrency: 4}]}
"""
IDENTITY = Identity(run_id="r1", created_ms=1_700_000_000_000, gpu_type="gb200", git_sha="abc", extra={"l_build": "7"})


def case_of(text: str, directory: Path) -> Case:
    path = directory / "some-config.yaml"
    path.write_text(text)
    return load_cases(str(path), dirs=[directory], settings=Settings(), environ={})[0]


def test_fields_of_a_disaggregated_record(tmp_path: Path) -> None:
    case = case_of(DISAGG, tmp_path)
    record = build(case, None, case.clients[0], metrics={"median_ttft": 5}, identity=IDENTITY, repeat=1)
    expected = {
        "s_run_id": "r1",
        "s_case_id": "disagg-e2e-some-config",
        "s_test_list": "disagg-e2e-some-config",
        "s_config_digest": case.digest,
        "s_runtime": "multi_node_disagg_server",
        "s_benchmark_mode": "e2e",
        "s_gpu_type": "gb200",
        "s_commit": "abc",
        "s_model_name": "some-model",
        "s_ctx_model_name": "some-model",
        "l_num_ctx_servers": 1,
        "l_num_gen_servers": 2,
        "l_ctx_tp": 2,
        "l_gen_tp": 8,
        "l_gen_pp": 2,
        "l_gen_gpus": 16,
        "l_gen_gpus_per_node": 4,
        "l_gen_max_batch_size": 32,
        "l_ctx_max_batch_size": 512,
        "d_gen_free_gpu_memory_fraction": 1.0,
        "s_gen_moe_backend": "CUTLASS",
        "l_gen_load_balancer_num_slots": 288,
        "b_ctx_enable_cuda_graph": False,
        "b_gen_enable_cuda_graph": True,
        "s_gen_cuda_graph_batch_sizes": "1,2,4",
        "s_gen_spec_decoding_type": "MTP",
        "l_gen_max_draft_len": 3,
        "l_gen_num_nextn_predict_layers": 3,
        "s_server_env_var": "HF_TOKEN=*** A=1",
        "l_concurrency": 4,
        "l_iterations": 2,
        "l_isl": 64,
        "l_osl": 8,
        "d_random_range_ratio": 0.0,
        "b_eos": True,
        "l_repeat": 1,
        "b_rehearsal": False,
        "b_is_valid": True,
        "l_build": 7,
        "ts_created": 1_700_000_000_000,
        "d_median_ttft": 5.0,
    }
    assert {name: record.get(name) for name in expected} == expected
    assert record["s_test_case_name"] == f"e2e-some-config-{case.clients[0].name}"
    assert "s_left_out" not in record
    assert isinstance(record["d_gen_free_gpu_memory_fraction"], float)
    assert None not in record.values()


def test_a_server_is_multi_node_only_where_it_spans_nodes(tmp_path: Path) -> None:
    (tmp_path / "agg.yaml").write_text(AGGREGATED)
    cases = load_cases(str(tmp_path / "agg.yaml"), dirs=[tmp_path], settings=Settings(), environ={})
    specs = {spec.name: (case, spec) for case in cases for spec in case.servers}
    runtimes = {
        name: build(case, spec, spec.clients[0], metrics={}, identity=IDENTITY)["s_runtime"]
        for name, (case, spec) in specs.items()
    }
    assert runtimes == {"small": "aggr_server", "large": "multi_node_aggr_server"}
    case, spec = specs["small"]
    record = build(case, spec, spec.clients[0], metrics={}, identity=IDENTITY)
    assert record["s_test_case_name"] == f"small-{spec.clients[0].name}"
    assert record["s_server_name"] == "small"
    assert record["l_tp"] == 1


def test_values_get_the_type_of_their_prefix_or_are_named() -> None:
    fields = {
        "d_a": 1,
        "d_text": "2.5",
        "d_nan": float("nan"),
        "d_flag": True,
        "l_a": 2.0,
        "l_half": 2.5,
        "l_text": "four",
        "b_a": "yes",
        "s_a": 3,
        "s_list": [1, 2],
        "s_none": None,
        "x": 1,
    }
    record = typed(fields)
    left_out = str(record.pop("s_left_out"))
    assert record == {"d_a": 1.0, "d_text": 2.5, "l_a": 2, "s_a": "3", "s_list": "1,2"}
    assert isinstance(record["d_a"], float)
    assert isinstance(record["l_a"], int)
    for name in ("d_nan", "d_flag", "l_half", "l_text", "b_a", "x"):
        assert f"{name}: found " in left_out
    assert "l_text: found 'four', expected an integer" in left_out


def test_judgement_and_free_text_are_in_the_record(tmp_path: Path) -> None:
    case = case_of(DISAGG, tmp_path)
    judgement = Judgement(False, "failed at http://u:p@h/", ["p99_ttft", "p99_itl"], "invalid")
    record = build(case, None, case.clients[0], metrics={}, identity=IDENTITY, judgement=judgement)
    assert record["b_is_valid"] is False
    assert record["s_invalid_reason"] == "failed at http://***@h/"
    assert record["s_low_n"] == "p99_ttft,p99_itl"
    assert record["s_verdict"] == "invalid"
    assert record["b_is_regression"] is False


def test_the_id_is_the_measurements_not_the_contents(tmp_path: Path) -> None:
    case = case_of(DISAGG, tmp_path)
    one = build(case, None, case.clients[0], metrics={"x": 1.0}, identity=IDENTITY)
    same = build(case, None, case.clients[0], metrics={"x": 2.0}, identity=Identity("r1", 5))
    others = [
        build(case, None, case.clients[1], metrics={}, identity=IDENTITY),
        build(case, None, case.clients[0], metrics={}, identity=IDENTITY, repeat=1),
        build(case, None, case.clients[0], metrics={}, identity=Identity("r2", 5)),
    ]
    assert document_id(one) == document_id(same)
    assert len({document_id(each) for each in (one, *others)}) == 4


def test_a_file_is_appended_to_and_read(tmp_path: Path) -> None:
    path = tmp_path / "results" / "records.jsonl"
    append(path, [{"l_a": 1, "s_b": "é\u2028"}])
    append(path, [{"l_a": 2, "d_c": 1.0}])
    assert read(path) == [{"l_a": 1, "s_b": "é\u2028"}, {"l_a": 2, "d_c": 1.0}]
    assert path.read_bytes().count(b"\n") == 2


def test_a_torn_line_spoils_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"l_a": 1}\n{"l_a"')
    append(path, [{"l_a": 2}])
    assert path.read_bytes().splitlines()[2] == b'{"l_a": 2}'
    with pytest.raises(ConfigError, match=r"records\.jsonl:2: found .*expected one JSON object per line") as caught:
        read(path)
    assert len(caught.value.problems) == 1


def test_every_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps({"l_a": 1, "d_b": 1}) + '\n[1]\n\n{"l_a": "x"}\n')
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert [problem.line for problem in caught.value.problems] == [2, 4]
    assert "l_a: 'x', which is not an integer" in str(caught.value)
    with pytest.raises(ConfigError, match=r"nowhere\.jsonl: found No such file"):
        read(tmp_path / "nowhere.jsonl")
