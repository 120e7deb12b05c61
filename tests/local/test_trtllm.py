"""Engine ``trtllm`` end to end, with a stand-in for ``trtllm-serve`` on PATH: nothing here is TensorRT-LLM's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_disagg.rundir.layout import RunDir
from tests import standins
from tests.pytester.conftest import Finished, make_project, properties, run_pytest

CASE: dict[str, Any] = {
    "engine": "trtllm",
    "cases": ["disagg-e2e"],
    "metadata": {"model_name": "some_model"},
    "slurm": {"timeout": 900},
    "benchmark": {"concurrency_list": "2", "multi_round": 6, "input_length": 32, "output_length": 8},
    "hardware": {"gpus_per_node": 8, "num_ctx_servers": 1, "num_gen_servers": 1, "share_nodes": True},
    "worker_config": {
        "gen": {"tensor_parallel_size": 1, "max_batch_size": 16, "stream_interval": 1, "print_iter_log": True},
        "ctx": {"tensor_parallel_size": 1, "max_batch_size": 16, "cache_transceiver_config": {"backend": "NIXL"}},
    },
    # A machine that is busy with other tests must neither be too slow nor make a fast load invalid.
    "timeouts": {
        **dict.fromkeys(("launch_s", "ready_s", "probe_s", "warmup_s", "store_s", "stop_s", "heartbeat_timeout_s"), 60),
        "measure_s": 120,
        "stall_s": 50,
        "grace_s": 10,
    },
    "gate": {"min_concurrency_ratio": 0.1, "max_client_lag_ms": 5000.0, "max_client_cpu": 100.0},
}
AGGR: dict[str, Any] = {
    **{key: CASE[key] for key in ("engine", "metadata", "slurm", "timeouts", "gate")},
    "cases": ["aggr"],
    "hardware": {"gpus_per_node": 8},
    "server_configs": [
        {
            "name": "one",
            "tensor_parallel_size": 1,
            "max_batch_size": 16,
            "stream_interval": 1,
            "client_configs": [{"name": "con2", "concurrency": 2, "iterations": 6, "isl": 32, "osl": 8}],
        }
    ],
}
SERVERS = ("GEN_0", "CTX_0")
KEY = re.compile(r"\b[0-9a-f]{64}\b")
MISSPELT = """\
import dataclasses
from pytest_disagg.engines.trtllm.engine import TrtllmEngine

class Misspelt(TrtllmEngine):
    def server(self, request):
        launch = super().server(request)
        words = ["--report-addr" if word == "--report_addr" else word for word in launch.argv]
        return dataclasses.replace(launch, argv=tuple(words))

def pytest_disagg_engines():
    return {"trtllm": Misspelt}
"""


def gen_with(**keys: object) -> dict[str, Any]:
    workers = CASE["worker_config"]
    return {"worker_config": {**workers, "gen": {**workers["gen"], **keys}}}


class Project:
    """A project of one case and its run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "project"
        self.path = standins.install(folder / "bin")

    def run(self, case: dict[str, Any], *args: str, conftest: str = "", **env: str) -> Finished:
        make_project(self.folder, case=yaml.safe_dump(case, sort_keys=False))
        (self.folder / "conftest.py").write_text(conftest)
        argv = ("-p", "no:cacheprovider", "--junitxml=r.xml", "--disagg-work-dir=runs", *args)
        return run_pytest(self.folder, *argv, PATH=self.path, DISAGG_RUN_ID="r", **env)

    def rundir(self, case_id: str) -> RunDir:
        return RunDir.of(self.folder / "runs", "r", case_id)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def outcome_of(finished: Finished) -> tuple[str, dict[str, str]]:
    """The failure's first line, empty where the one test is green, and its properties."""
    ((_, test),) = finished.tests().items()
    assert test.find("skipped") is None, finished.out
    failure = test.find("failure")
    text = "" if failure is None else failure.text or ""
    return text.partition("\n")[0], properties(test)


def assert_green(finished: Finished) -> dict[str, str]:
    headline, found = outcome_of(finished)
    assert (finished.code, headline) == (0, ""), finished.out
    return found


def config(rundir: RunDir, role: str, name: str) -> dict[str, Any]:
    loaded = yaml.safe_load((rundir.config(role) / name).read_text().replace("***", "masked"))
    assert isinstance(loaded, dict)
    return loaded


def test_a_disaggregated_case(project: Project) -> None:
    models = project.folder.parent / "models"
    (models / "some_model").mkdir(parents=True)
    assert_green(project.run(CASE, f"--disagg-models-root={models}"))
    rundir = project.rundir("disagg-e2e-case")
    for role in (*SERVERS, "DISAGG_SERVER"):
        assert "stand-in trtllm-serve: no TensorRT-LLM here" in rundir.log(role).read_text()
    # Who asks later sees what was started, without the key; the key itself has gone with its folder.
    assert not rundir.secrets.exists()
    gen = config(rundir, "GEN_0", "extra-llm-api-config.gen.e2e-case.yml")
    assert next(iter(gen)) == "internal_request_auth_key"
    assert gen == {**CASE["worker_config"]["gen"], "internal_request_auth_key": "masked"}
    listed = config(rundir, "DISAGG_SERVER", "server_config.0.yaml")
    assert listed["internal_request_auth_key"] == "masked"
    assert [listed[f"{kind}_servers"]["num_instances"] for kind in ("context", "generation")] == [1, 1]
    startup = json.loads((rundir.results / "startup_metrics.0.json").read_text())
    assert {role: said["startup_metrics"]["model_load_s"] for role, said in startup.items()} == dict.fromkeys(
        SERVERS, 0.25
    )
    assert startup["GEN_0"]["model"] == str(models / "some_model")
    # Digests of the case and of the key have as many digits: neither of these files has one.
    for path in (rundir.log("GEN_0"), rundir.log("DISAGG_SERVER"), *rundir.path.glob("config/*/*.y*ml")):
        assert not KEY.search(path.read_text()), path


def test_an_aggregated_case(project: Project) -> None:
    assert_green(project.run(AGGR))
    rundir = project.rundir("aggr-case")
    assert config(rundir, "SERVER_0", "extra-llm-api-config.aggr.one.yml") == {
        key: AGGR["server_configs"][0][key] for key in ("tensor_parallel_size", "max_batch_size", "stream_interval")
    }
    assert list(json.loads((rundir.results / "startup_metrics.0.json").read_text())) == ["SERVER_0"]


def test_gen_only_fills_the_gate_of_the_gen_server_alone(project: Project) -> None:
    # The stand-in of a CTX server refuses to start with a variable of the gate in its environment.
    assert_green(project.run({**CASE, "cases": ["disagg-gen_only"]}))
    rundir = project.rundir("disagg-gen_only-case")
    assert "fill_gate=2" in rundir.log("GEN_0").read_text()
    assert "fill_gate=0" in rundir.log("CTX_0").read_text()


def test_no_context(project: Project) -> None:
    benchmark = {**CASE["benchmark"], "mode": "gen_only_no_context"}
    assert_green(project.run({**CASE, "cases": ["disagg-gen_only"], "benchmark": benchmark}))
    rundir = project.rundir("disagg-gen_only-case")
    assert "no_context=True" in rundir.log("GEN_0").read_text()
    assert config(rundir, "DISAGG_SERVER", "server_config.0.yaml")["context_servers"] == {
        "num_instances": 0,
        "urls": [],
    }


def test_several_frontends_share_a_port_that_the_role_holds(project: Project) -> None:
    """And a key that the file gives is used, and shown nowhere."""
    finished = project.run(
        {**CASE, **gen_with(num_serve_frontends=2), "internal_request_auth_key": "of-this-file-0815"}
    )
    assert_green(finished)
    rundir = project.rundir("disagg-e2e-case")
    (url,) = config(rundir, "DISAGG_SERVER", "server_config.0.yaml")["generation_servers"]["urls"]
    assert not rundir.address("GEN_0").exists()
    assert f"listens on {url}" in rundir.log("GEN_0").read_text()
    written = [path for path in rundir.path.rglob("*") if path.is_file()]
    assert [path for path in written if b"of-this-file-0815" in path.read_bytes()] == []
    assert "of-this-file-0815" not in finished.out


@pytest.mark.parametrize(
    ("case", "conftest", "words"),
    [
        (CASE, MISSPELT, "no such option: --report-addr"),
        ({**CASE, **gen_with(max_batchsize=4)}, "", "unknown key 'max_batchsize'"),
    ],
    ids=["flag", "key"],
)
def test_what_the_server_does_not_take_is_in_the_first_line(
    project: Project, case: dict[str, Any], conftest: str, words: str
) -> None:
    headline, found = outcome_of(project.run(case, conftest=conftest))
    assert re.match(r"functional: (GEN|CTX)_0 failed in stage launch: its (GEN|CTX) server 0 ended with exit", headline)
    assert "exit code 2: stand-in trtllm-serve: error: " in headline
    assert words in headline
    assert found["disagg_kind"] == "functional"
    assert not project.rundir("disagg-e2e-case").secrets.exists()


def test_without_the_program_the_case_is_skipped(project: Project, tmp_path: Path) -> None:
    project.path = str(tmp_path)
    ((_, test),) = project.run(CASE).tests().items()
    skipped = test.find("skipped")
    assert skipped is not None
    assert "trtllm-serve is not on PATH" in skipped.get("message", "")
