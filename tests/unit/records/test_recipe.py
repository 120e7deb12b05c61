"""What a manifest keeps to run its case again: whole, without secrets, and read back to the same digest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.config.case import Case
from pytest_disagg.config.resolve import Settings, load_cases
from pytest_disagg.errors import UsageError
from pytest_disagg.records.gpu import GpuProbe
from pytest_disagg.records.manifest import collect
from pytest_disagg.records.recipe import LAUNCH_FILE, Recipe, launch_of, masked_keys, value_at, variable
from pytest_disagg.redact import redact_data

TEXT = """
engine: sim
metadata: {model_name: "<model>", release: 2026-01-02}
benchmark: {concurrency_list: "4", input_length: 64, output_length: 8}
hardware: {gpus_per_node: 4, num_ctx_servers: 1, num_gen_servers: 1}
environment: {worker_env_var: HF_TOKEN=abcdefgh A=1}
internal_request_auth_key: "12345678"
worker_config: {ctx: {}, gen: {}}
"""
DATE = ("document", "metadata", "release")
ENVIRONMENT = ("document", "environment", "worker_env_var")
KEY = ("document", "internal_request_auth_key")
STARTED: dict[str, Any] = {
    "options": {"repeat": "2"},
    "require_upload": False,
    "config_dirs": ["/configs"],
    "llm_src": None,
    "cwd": "/",
    "test": {"file": "/test_it.py"},
}


@pytest.fixture
def case(tmp_path: Path) -> Case:
    path = tmp_path / "some.yaml"
    path.write_text(TEXT)
    settings = Settings(sets=("benchmark.multi_round=2", "environment.server_env_var=API_KEY=qwertzui"))
    return load_cases(str(path), dirs=[tmp_path], settings=settings, environ={"MODEL": "m"})[0]


def manifest_of(case: Case, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    found = collect(case, run_id="r", role="BENCHMARK", environ=environ or {}, gpus=GpuProbe(), started=STARTED)
    text = json.dumps(redact_data(found))
    assert not any(secret in text for secret in ("abcdefgh", "12345678", "qwertzui"))
    content: dict[str, Any] = json.loads(text)
    return content


def test_secrets_are_left_out_by_key(case: Case) -> None:
    recipe = Recipe.of(manifest_of(case), "here")
    assert set(recipe.masked) == {DATE, ENVIRONMENT, KEY, ("sets", "1")}
    assert recipe.settings.sets[0] == "benchmark.multi_round=2"
    assert recipe.settings.placeholders == {"model": "m"}
    assert (recipe.digest, recipe.path, recipe.started) == (case.digest, case.path, STARTED)


def test_the_case_file_gives_them_back_and_the_environment_comes_first(case: Case) -> None:
    recipe = Recipe.of(manifest_of(case), "here")
    whole = recipe.restored(case.source.document, {"DISAGG_RERUN_SET_1": "environment.server_env_var=API_KEY=qwertzui"})
    assert whole.document == case.source.document
    assert whole.settings.sets == case.source.settings.sets
    other = recipe.restored(
        case.source.document, {"DISAGG_RERUN_SET_1": "a=b", "DISAGG_RERUN_ENVIRONMENT_WORKER_ENV_VAR": "A=2"}
    )
    assert value_at(other.document, ENVIRONMENT[1:]) == "A=2"


def test_each_key_that_nobody_supplies_is_named(case: Case) -> None:
    recipe = Recipe.of(manifest_of(case), "here")
    with pytest.raises(UsageError) as raised:
        recipe.restored({}, {})
    text = str(raised.value)
    assert f"r::{case.id.text}: " in text
    assert "environment.worker_env_var (set DISAGG_RERUN_ENVIRONMENT_WORKER_ENV_VAR)" in text
    assert "internal_request_auth_key (set DISAGG_RERUN_INTERNAL_REQUEST_AUTH_KEY)" in text
    assert "(--disagg-set environment.server_env_var=...: set DISAGG_RERUN_SET_1)" in text
    assert "qwertzui" not in text


def test_a_placeholder_that_is_secret_has_its_own_variable() -> None:
    assert variable(("placeholders", "hf_token")) == "HF_TOKEN"
    assert variable(("document", "server_configs", "0", "my-key")) == "DISAGG_RERUN_SERVER_CONFIGS_0_MY_KEY"


@pytest.mark.parametrize(
    ("value", "keys"),
    [
        ({"a": [1, {"HF_TOKEN": "x" * 9}]}, [("a", "1", "HF_TOKEN")]),
        ({"a": 1.5, "b": None, "c": True, "d": "plain"}, []),
        ({"sizes": {1: "a"}}, [("sizes", "1")]),
        ({"auth_key": {"deep": 1}}, [("auth_key",)]),
    ],
)
def test_masked_keys(value: object, keys: list[tuple[str, ...]]) -> None:
    assert list(masked_keys(value, redact_data(value))) == keys


@pytest.mark.parametrize("lacking", ["source", "masked", "rehearse_limits"])
def test_a_manifest_without_a_part_says_which(case: Case, lacking: str) -> None:
    manifest = manifest_of(case)
    del manifest["rerun"][lacking]
    with pytest.raises(UsageError, match=rf"^here: found no usable '{lacking}'"):
        Recipe.of(manifest, "here")


def test_an_old_manifest_says_what_it_lacks(case: Case) -> None:
    manifest = manifest_of(case)
    del manifest["rerun"]
    with pytest.raises(UsageError, match=r"^here: found no 'rerun' part, expected one: pytest-disagg \d"):
        Recipe.of(manifest, "here")


def test_the_job_that_played_the_run(case: Case, tmp_path: Path) -> None:
    cluster = {"name": "lab", "container": "pyxis", "image": "registry/image:2"}
    (tmp_path / LAUNCH_FILE).write_text(json.dumps({"cluster": cluster, "masked": []}))
    manifest = manifest_of(case, {"DISAGG_JOB_DIR": str(tmp_path), "DISAGG_RERUN_OF": "older"})
    assert manifest["container"] == {"image": "registry/image:2", "from": "cluster"}
    assert manifest["rerun_of"] == "older"
    assert manifest["schema"] == 1
    assert Recipe.of(manifest, "here").launch == {"cluster": cluster, "masked": []}
    assert launch_of({}) is None
    gone = launch_of({"DISAGG_JOB_DIR": str(tmp_path / "gone")})
    assert gone is not None
    assert "No such file" in gone["error"]
