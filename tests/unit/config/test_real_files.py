"""Files that exist: TensorRT-LLM's, as saved beside the checkout, and the ones this project ships."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_disagg.config import yaml
from pytest_disagg.config.listing import ids_of, list_cases
from pytest_disagg.config.lookup import ConfigFiles
from pytest_disagg.config.resolve import load_case, load_cases, offered_cases
from pytest_disagg.config.scan import scan
from pytest_disagg.config.schema_json import json_schema
from pytest_disagg.config.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
SPEC = (ROOT / "../shared/spec/trtllm-configs").resolve()
# In loops, not in parameters: the names of these files must not become names of tests, which -k would select.
OWN = [path for paths in ConfigFiles([ROOT / "test_configs"]).by_stem.values() for path in paths]
REAL = sorted(SPEC.glob("*/*.yaml"))

needs_spec = pytest.mark.skipif(not SPEC.is_dir(), reason="../shared is not here")
each_real = pytest.mark.parametrize("path", REAL or [None], ids=lambda path: path.stem if path else "none")


@needs_spec
@each_real
def test_a_real_file_loads_unchanged_in_every_mode(path: Path) -> None:
    document = yaml.load(path)
    for case in offered_cases(path, environ={}):
        assert case.engine == "trtllm"
        assert case.document == document.data
        assert case.notes == ()
        for server in case.servers:
            blocks = [*document.data.get("worker_config", {}).values(), *document.data.get("server_configs", [])]
            expected = [{k: v for k, v in block.items() if k != "cache_transceiver_config"} for block in blocks]
            assert server.engine_config in (expected if case.id.mode == "ctx_only" else blocks)


@needs_spec
def test_sizes_of_real_files() -> None:
    expected: dict[str, Any] = json.loads((SPEC / "expected_layout.json").read_text())
    for path in REAL:
        numbers = expected[path.stem]
        cases = load_cases(str(path), environ={})
        assert {case.gpus_per_node for case in cases} == {numbers["gpus_per_node"]}
        if "servers" in numbers:
            found = {s.name: (s.world_size, len(s.clients)) for case in cases for s in case.servers}
            assert found == {name: (s["world_size"], s["clients"]) for name, s in numbers["servers"].items()}
        else:
            (case,) = cases
            gen, ctx = case.servers
            assert (gen.count, gen.world_size) == (numbers["num_gen"], numbers["gpus_per_gen"])
            assert (ctx.count, ctx.world_size) == (numbers["num_ctx"], numbers["gpus_per_ctx"])
            assert [client.concurrency for client in case.clients] == [numbers["concurrency"]]


@needs_spec
def test_real_environment_strings_keep_their_quoted_values() -> None:
    (path,) = (p for p in REAL if "con8_ctx1_dep4_gen4" in p.stem)
    (case,) = load_cases(str(path), environ={})
    gen, ctx = case.servers
    assert gen.env["PYTHONWARNINGS"] == "ignore::DeprecationWarning:cutlass.cute.core"
    assert gen.env["TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS"] == "3"
    assert "PYTORCH_CUDA_ALLOC_CONF" in ctx.env
    assert "PYTORCH_CUDA_ALLOC_CONF" not in gen.env
    assert case.clients[0].dataset_file is None
    assert case.spec_decoding


@needs_spec
@each_real
def test_a_real_file_can_be_rehearsed(path: Path) -> None:
    for case in load_cases(str(path), settings=Settings(engine="sim"), environ={}):
        assert case.rehearsal
        loads = [*case.clients, *(client for server in case.servers for client in server.clients)]
        assert loads
        assert all(load.num_prompts <= 16 and load.dataset_file is None for load in loads)
        assert case.num_ctx + case.num_gen <= 8


@needs_spec
@each_real
def test_a_quick_look_at_a_real_file_agrees_with_a_full_one(path: Path) -> None:
    data = yaml.load(path).data
    servers = tuple(server["name"] for server in data.get("server_configs", ()))
    assert scan(path).servers == servers
    assert scan(path).kind == ("aggr" if servers else "disagg")
    assert len(ids_of(path)) == (2 * (1 + len(servers)) if servers else 8)


def test_the_files_of_this_project_are_good() -> None:
    assert OWN
    for path in OWN:
        engines = {case.engine for case in offered_cases(path, environ={})}
        assert engines == {yaml.load(path).data.get("engine", "trtllm")}


def test_this_projects_directory_has_no_broken_case() -> None:
    listed = list_cases([ROOT / "test_configs"])
    assert listed
    assert [str(case.problem) for case in listed if case.error] == []
    for case in listed:
        assert load_case(case.id, path=case.path, environ={}).id.text == case.id


def test_the_json_schema_accepts_what_is_good() -> None:
    either = jsonschema.Draft202012Validator(json_schema())
    disagg = jsonschema.Draft202012Validator(json_schema("disaggregated"))
    aggr = jsonschema.Draft202012Validator(json_schema("aggregated"))
    for path in [*OWN, *REAL]:
        data = yaml.load(path).data
        either.validate(data)
        (disagg if scan(path).kind == "disagg" else aggr).validate(data)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hardware", {"gpus_per_node": 0, "num_ctx_servers": 1, "num_gen_servers": 1}),
        ("benchmark", {"concurrency_list": "4 x"}),
        ("timeouts", {"stal_s": 1}),
        ("cases", ["disagg-e2"]),
        ("worker_config", {"gen": {"tensor_parallel_size": "four"}}),
    ],
)
def test_the_json_schema_refuses_what_is_not(key: str, value: Any) -> None:
    good: dict[str, Any] = {
        "hardware": {"gpus_per_node": 4, "num_ctx_servers": 1, "num_gen_servers": 1},
        "worker_config": {"gen": {}, "ctx": {}},
        "timeouts": None,
    }
    jsonschema.validate(good, json_schema("disaggregated"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**good, key: value}, json_schema("disaggregated"))
