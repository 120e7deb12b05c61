"""Which run is meant, what is not as it was, and a case that is made again."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.clients.aiperf import Aiperf
from pytest_disagg.config.case import Case
from pytest_disagg.config.cluster import Cluster
from pytest_disagg.config.resolve import Settings, load_cases
from pytest_disagg.config.settings import RehearseLimits
from pytest_disagg.errors import UsageError
from pytest_disagg.launch.rerun.again import again
from pytest_disagg.launch.rerun.differ import (
    client_difference,
    config_differences,
    image_difference,
    package_differences,
    version_differences,
)
from pytest_disagg.launch.rerun.find import find_manifest
from pytest_disagg.launch.rerun.job import wanted_again, was_a_job, with_image
from pytest_disagg.launch.rerun.local import local_rerun
from pytest_disagg.launch.slurm.launched import launched
from pytest_disagg.launch.slurm.submit import Wanted
from pytest_disagg.records.gpu import GpuProbe
from pytest_disagg.records.manifest import collect
from pytest_disagg.records.recipe import LAUNCH_FILE
from pytest_disagg.rundir.files import to_json
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.store.manifests import Kept
from pytest_disagg.version import __version__

TEXT = """
engine: trtllm
metadata: {model_name: "<model>"}
benchmark: {concurrency_list: "4 64", input_length: 64, output_length: 8}
hardware: {gpus_per_node: 4, num_ctx_servers: 1, num_gen_servers: 1}
worker_config: {ctx: {}, gen: {}}
"""
SETTINGS = Settings(engine="sim", sets=("benchmark.multi_round=2",), rehearse_limits=RehearseLimits(requests=4))


@pytest.fixture
def case(tmp_path: Path) -> Case:
    (tmp_path / "configs").mkdir()
    path = tmp_path / "configs" / "some.yaml"
    path.write_text(TEXT)
    return load_cases(str(path), settings=SETTINGS, environ={"MODEL": "m", "BOLT_ITER_MULT": "3"})[0]


def started(tmp_path: Path, **test: Any) -> dict[str, Any]:
    kept = {
        "file": str(tmp_path / "test_it.py"),
        "name": "TestAll::test_e2e",
        "rootdir": str(tmp_path),
        "inifile": None,
        "import_mode": "prepend",
        "override_ini": ["pythonpath=src"],
        "confcutdir": None,
        "plugins": ["own_engines"],
    }
    return {
        "options": {"client": None, "repeat": "2", "policy": "pre", "history": "/h", "interface": "eth7"},
        "require_upload": True,
        "config_dirs": [str(tmp_path / "configs")],
        "llm_src": None,
        "cwd": str(tmp_path),
        "test": {**kept, **test},
    }


def kept(tmp_path: Path, case: Case, cluster: Cluster | None = None, **more: Any) -> Kept:
    """The manifest of a run of that case, by pytest or as a job of a cluster."""
    environ = {}
    if cluster is not None:
        wanted = Wanted(case, cluster, tmp_path, (), retries=2)
        (tmp_path / LAUNCH_FILE).write_text(to_json(launched(wanted)))
        environ["DISAGG_JOB_DIR"] = str(tmp_path)
    given = {"started": started(tmp_path), **more}
    content = collect(case, run_id="r", role="BENCHMARK", environ=environ, gpus=GpuProbe(), **given)
    return Kept(tmp_path / "m.json", json.loads(to_json(content)))


def test_the_case_is_the_same_whatever_the_environment_says(tmp_path: Path, case: Case) -> None:
    (tmp_path / "configs" / "baselines").mkdir()
    case.path.unlink()
    found = kept(tmp_path, case)
    environ = {"MODEL": "other", "BOLT_ITER_MULT": "7", "LLM_MODELS_ROOT": "/models"}
    made = again(found, tmp_path / "runs", environ)
    assert made.case.digest == case.digest
    assert made.case.clients == case.clients
    assert made.case.path == tmp_path / "runs" / "reruns" / f"r.{case.id.text}" / "some.yaml"
    assert (made.folder / "baselines").resolve() == tmp_path / "configs" / "baselines"
    assert made.environ["MODEL"] == "m"
    assert made.environ["BOLT_ITER_MULT"] == "3"
    assert made.environ["LLM_MODELS_ROOT"] == made.environ["DISAGG_LLM_SRC"] == ""
    assert made.environ["DISAGG_RERUN_OF"] == "r"
    words = made.options(tmp_path / "runs", tmp_path / "h", None)
    assert "--disagg-set=benchmark.multi_round=2" in words
    assert "--disagg-rehearse-limit=concurrency=8,requests=4,isl=512,osl=16,servers=8" in words
    assert "--disagg-policy=pre" in words
    assert "--disagg-require-upload" in words
    assert not any(word.startswith("--disagg-client") for word in words)


def test_another_digest_names_the_keys(tmp_path: Path, case: Case) -> None:
    content = json.loads(json.dumps(kept(tmp_path, case).content))
    content["rerun"]["source"]["document"]["benchmark"]["output_length"] = 9
    with pytest.raises(UsageError, match=r"found config digest .*: benchmark\.output_length: 8 then, 9 now$"):
        again(Kept(tmp_path / "m.json", content), tmp_path / "runs", {})


def test_a_deployment_of_somebody_else_is_not_run_again(tmp_path: Path, case: Case) -> None:
    with pytest.raises(UsageError, match="measured what somebody else had deployed"):
        again(kept(tmp_path, case, started={}), tmp_path / "runs", {})


def test_by_the_users_own_test_or_by_one_that_is_made_here(tmp_path: Path, case: Case) -> None:
    made = again(kept(tmp_path, case), tmp_path / "runs", {})
    (tmp_path / "test_it.py").write_text("")
    own = local_rerun(made, "new", tmp_path / "runs", tmp_path / "h")
    assert own.argv[-1] == f"{tmp_path}/test_it.py::TestAll::test_e2e[{case.id.text}]"
    assert "--import-mode=prepend" in own.argv
    for word in ("own_engines", "pythonpath=src", "disagg_llm_src=", "--disagg-interface=eth7"):
        assert word in own.argv
    assert own.notes == ()
    environ = own.environment({"DISAGG_SERVING_TYPE": "GEN_0", "PYTEST_ADDOPTS": "-x", "HOME": "/home"})
    assert environ["DISAGG_RUN_ID"] == "new"
    assert environ["HOME"] == "/home"
    assert not {"DISAGG_SERVING_TYPE", "PYTEST_ADDOPTS"} & environ.keys()
    (tmp_path / "test_it.py").unlink()
    plain = local_rerun(made, "new", tmp_path / "runs", tmp_path / "h")
    assert plain.argv[-1] == f"{made.folder}/perf_sanity.py::test_e2e[{case.id.text}]"
    assert "is gone: a test module that is made here plays the case" in plain.notes[0]


def test_a_job_is_the_job_that_it_was(tmp_path: Path, case: Case) -> None:
    cluster = Cluster.model_validate({"name": "lab", "container": "pyxis", "image": "i:1", "interface": "ib0"})
    found = kept(tmp_path, case, cluster)
    made = again(found, tmp_path / "runs", {})
    assert was_a_job(made.recipe)
    assert not was_a_job(replace(made.recipe, launch={"error": "launch.json: gone"}))
    wanted, notes = wanted_again(made, cluster, None, tmp_path / "runs", tmp_path / "h")
    assert (wanted.retries, wanted.test, notes) == (2, None, [])
    assert "--disagg-interface=ib0" in wanted.options
    assert wanted.environ["DISAGG_RERUN_OF"] == "r"
    other = Cluster.model_validate({"container": "apptainer", "image": "i:2"})
    assert with_image(other, made.recipe).image == "i:1"
    assert with_image(Cluster(), made.recipe).image is None
    # An interface of that cluster's nodes is none of this machine's.
    assert not any("--disagg-interface" in word for word in local_rerun(made, "n", tmp_path, tmp_path).argv)


def test_what_package_and_image_were(tmp_path: Path, case: Case) -> None:
    manifest = {**kept(tmp_path, case).content}
    here = {"sha": "b" * 40, "root": "/src", "dirty": False}
    manifest |= {"version": "0.0.1", "git": {"package": {"sha": "a" * 40, "dirty": False}}}
    assert package_differences(manifest, here) == [
        f"pytest-disagg was 0.0.1, here it is {__version__}: pip install pytest-disagg==0.0.1",
        f"pytest-disagg was at commit {'a' * 12}, here it is at {'b' * 12}: git -C /src checkout {'a' * 12}",
    ]
    manifest |= {"version": __version__}
    assert package_differences(manifest, {"error": "no git"}) == []
    modified = package_differences(manifest, {"sha": "a" * 40, "root": "/src", "dirty": True})
    assert modified == ["the checkout of pytest-disagg in /src is modified, then it was not: git stash"]
    manifest |= {"git": {"package": {"sha": "a" * 40, "dirty": True}}}
    assert "its changes are not known" in package_differences(manifest, here)[-1]
    manifest |= {"container": {"image": "i:1", "from": "cluster"}}
    assert image_difference(manifest, "i:1") == []
    assert image_difference(manifest, None) == ["the roles ran in image i:1, now in (none)"]
    manifest |= {"container": {"image": "i:1", "from": "environment.container_image"}}
    assert image_difference(manifest, None) == []


def test_what_python_its_packages_and_the_load_generator_were(
    tmp_path: Path, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = {**kept(tmp_path, case).content}
    assert version_differences(manifest) == client_difference(manifest) == []
    manifest |= {"packages": {"vllm": "0.9", "torch": "2.7", "same": "1", "pytest-disagg": "0"}}
    assert version_differences(manifest, {"vllm": "0.10", "same": "1", "pytest-disagg": "1", "new": "1"}) == [
        "vllm was 0.9, here 0.10, torch was 2.7, here missing: pip install vllm==0.9 torch==2.7"
    ]
    manifest |= {"python": {"version": "3.9.1"}, "packages": {"error": "OSError: gone"}}
    assert version_differences(manifest) == [f"Python was 3.9.1, here it is {platform.python_version()}"]
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DISAGG_AIPERF", raising=False)
    [line] = client_difference(manifest | {"client": {"name": "aiperf", "version": "0.13.0"}})
    assert line.startswith("client aiperf was 0.13.0, here: ")
    monkeypatch.setattr(Aiperf, "unavailable", lambda self: None)
    monkeypatch.setattr(Aiperf, "version", lambda self: "0.14.0")
    assert client_difference(manifest | {"client": {"name": "aiperf", "version": "0.14.0"}}) == []
    assert client_difference(manifest | {"client": {"name": "aiperf", "version": "0.13.0"}}) == [
        "client aiperf was 0.13.0, here it is 0.14.0"
    ]


def test_config_differences() -> None:
    before, after = {"a": {"b": [1, 2], "same": 1}}, {"a": {"b": [1, 3], "same": 1, "new": "x"}}
    assert list(config_differences(before, after)) == ["a.b: [1, 2] then, [1, 3] now", "a.new: null then, 'x' now"]


def test_several_cases_of_a_run_are_named(tmp_path: Path) -> None:
    for name in ("aggr-a", "aggr-b", "aggr-early"):
        rundir = RunDir.of(tmp_path / "runs", "r", name)
        rundir.make()
        if name != "aggr-early":
            rundir.manifest.write_text(json.dumps({"run_id": "r", "case": name}))
    with pytest.raises(UsageError, match="found 2 cases, expected one of r::aggr-a, r::aggr-b"):
        find_manifest("r", tmp_path / "runs", tmp_path / "h")
    assert find_manifest("r::aggr-b", tmp_path / "runs", tmp_path / "h").case == "aggr-b"
    folder = tmp_path / "runs" / "r" / "aggr-a"
    assert find_manifest(str(folder), tmp_path / "other", tmp_path / "h").case == "aggr-a"
    with pytest.raises(UsageError, match="ended before its measurement was concluded"):
        find_manifest("r::aggr-early", tmp_path / "runs", tmp_path / "h")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UsageError, match="no manifest can be read"):
        find_manifest(str(tmp_path / "broken.json"), tmp_path / "runs", tmp_path / "h")
