"""The manifest: complete, redacted, and honest about what it could not find out."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from pytest_disagg.config.case import Case
from pytest_disagg.config.resolve import Settings, load_cases
from pytest_disagg.records.gpu import GpuProbe
from pytest_disagg.records.manifest import collect, git_state

TEXT = """
engine: sim
metadata: {model_name: m}
benchmark: {concurrency_list: "4", input_length: 64, output_length: 8}
hardware: {gpus_per_node: 4, num_ctx_servers: 1, num_gen_servers: 1}
environment: {container_image: registry/image:1, worker_env_var: HF_TOKEN=abcdefgh}
internal_request_auth_key: abcdefgh
worker_config: {ctx: {}, gen: {}}
"""


@pytest.fixture
def case(tmp_path: Path) -> Case:
    path = tmp_path / "some.yaml"
    path.write_text(TEXT)
    return load_cases(str(path), dirs=[tmp_path], settings=Settings(), environ={})[0]


def git(directory: Path, *arguments: str) -> str:
    command = ["git", "-C", str(directory), "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_parts_and_redaction(case: Case) -> None:
    environ = {"A_PASSWORD": "qwertzuiop", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]", "SIZE": "1"}
    manifest = collect(case, run_id="r", role="BENCHMARK", environ=environ, gpus=GpuProbe())
    assert manifest["environment"] == {**environ, "A_PASSWORD": "***"}
    assert manifest["slurm"] == {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]"}
    assert manifest["gpu"] == {"type": "none", "gpus": []}
    assert manifest["container"] == {"image": "registry/image:1", "from": "environment.container_image"}
    assert manifest["config"]["digest"] == case.digest
    assert manifest["config"]["effective"]["internal_request_auth_key"] == "***"
    assert "pytest-disagg" in manifest["packages"]
    assert manifest["cpu"]["logical"] >= manifest["cpu"]["usable"] >= 1
    assert manifest["memory"]["total_bytes"] > 0
    assert "abcdefgh" not in json.dumps(manifest)


def test_slurms_facts_are_found_where_slurm_run_put_them(case: Case) -> None:
    environ = {"DISAGG_SLURM_JOB_ID": "7", "DISAGG_SLURM_CLUSTER_NAME": "lab", "SLURM_PROCID": "0"}
    manifest = collect(case, run_id="r", role="BENCHMARK", environ=environ, gpus=GpuProbe())
    assert manifest["slurm"] == {"SLURM_JOB_ID": "7", "SLURM_CLUSTER_NAME": "lab", "SLURM_PROCID": "0"}
    assert manifest["ci"] == {}


def test_a_variable_names_the_image_before_the_file(case: Case) -> None:
    manifest = collect(case, run_id="r", role="GEN_0", environ={"DISAGG_CONTAINER_IMAGE": "x.sqsh"}, gpus=GpuProbe())
    assert manifest["container"] == {"image": "x.sqsh", "from": "DISAGG_CONTAINER_IMAGE"}


def test_a_probe_that_fails_says_so_alone(case: Case) -> None:
    manifest = collect(case, run_id="r", role="GEN_0", environ={}, gpus=GpuProbe(error="nvidia-smi is broken"))
    assert manifest["gpu"] == {"type": "unknown", "gpus": [], "error": "nvidia-smi is broken"}
    assert "not a git repository" in manifest["git"]["config"]["error"]
    assert manifest["python"]["version"]


def test_git_state(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "topic")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "x")
    sha = git(tmp_path, "rev-parse", "HEAD")
    assert git_state(tmp_path) == {"sha": sha, "branch": "topic", "root": str(tmp_path), "dirty": False}
    (tmp_path / "untracked").write_text("1")
    assert git_state(tmp_path)["dirty"] is False
    (tmp_path / "a").write_text("2")
    assert git_state(tmp_path)["dirty"] is True


def test_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) == {"error": "git is not on PATH"}
