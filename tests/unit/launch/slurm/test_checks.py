"""What nodes are asked before the first server starts, and what the program that asks finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.config.cluster import Cluster
from pytest_disagg.launch.slurm import checks, node_check
from pytest_disagg.machine import smi
from pytest_disagg.records.nvidia_smi import SmiError
from pytest_disagg.version import __version__
from tests.standins import nvidia_smi
from tests.unit.launch.slurm.conftest import MakeCase

TOKEN = Path("/jobs/a/run_id")


def test_the_simulated_engine_reads_no_models(make_case: MakeCase) -> None:
    wanted = checks.of_job(make_case(), Cluster(), TOKEN, ["--disagg-models-root=/m"])
    assert [(what, everywhere) for what, _, everywhere in wanted.readable] == [("case file", True)]
    assert (wanted.version, wanted.models_variable, wanted.gpus) == (__version__, False, 4)


def test_another_engine_reads_models_and_the_client_its_dataset(make_case: MakeCase, tmp_path: Path) -> None:
    load = {"concurrency_list": "4", "dataset_file": "/data/set.json"}
    case = make_case(engine="trtllm", metadata={"model_name": "/m/one"}, benchmark=load)
    wanted = checks.of_job(case, Cluster(gpu_request="none"), TOKEN, ["--disagg-repeat=1", "--disagg-models-root=/m"])
    assert wanted.readable == (
        ("case file", str(tmp_path / "job.yaml"), True),
        ("models", "/m", True),
        ("models", "/m/one", True),
        ("dataset", "/data/set.json", False),
    )
    assert (wanted.models_variable, wanted.gpus) == (True, None)


def made(tmp_path: Path, **changes: Any) -> dict[str, node_check.Check]:
    """The checks by name, with a token that is there and all else as it should be."""
    (tmp_path / "token").write_text("7.0\n")
    wanted = checks.Wanted(**{"version": __version__, "token_file": str(tmp_path / "token"), **changes})
    return {each.check: each for each in node_check.checks(json.loads(wanted.text()), "7.0", tmp_path, "n1")}


def test_a_node_in_order(tmp_path: Path) -> None:
    found = made(tmp_path, readable=(("models", str(tmp_path), True), ("dataset", str(tmp_path / "token"), False)))
    assert all(each.ok for each in found.values()), found
    assert {"models", "dataset", "pytest-disagg", "shared work directory"} <= set(found)
    assert (tmp_path / ".check.n1").read_text() == "n1"


def test_another_run_wrote_the_token(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("6.0\n")
    check = made(tmp_path, token_file=str(tmp_path / "other"))["shared work directory"]
    assert (check.ok, check.found) == (False, f"{tmp_path / 'other'}: 6.0")


def test_what_is_not_there(tmp_path: Path) -> None:
    found = made(tmp_path, version="0.0.1", readable=(("models", "/nowhere", True),))
    assert found["models"] == ("models", False, "/nowhere: No such file or directory", "readable on the node")
    assert found["pytest-disagg"][1:3] == (False, __version__)


def test_a_dataset_is_looked_at_on_the_first_node_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NODEID", "1")
    assert "dataset" not in made(tmp_path, readable=(("dataset", "/nowhere", False),))


def test_the_models_variable_of_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_MODELS_ROOT", "/nowhere")
    assert "LLM_MODELS_ROOT" not in made(tmp_path)
    assert not made(tmp_path, models_variable=True)["LLM_MODELS_ROOT"].ok


@pytest.mark.parametrize(
    ("visible", "driver", "ok"),
    [
        ("0,1,2,3", 4, True),
        ("0,1,2,3", 0, True),
        ("0,1", 4, False),
        ("0,1,2,3", 3, False),
        (None, 0, False),
        ("NoDevFiles", 4, True),
    ],
)
def test_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, driver: int, ok: bool) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(node_check, "DRIVER", tmp_path / "gpus")
    for index in range(driver):
        (tmp_path / "gpus" / f"0000:{index}").mkdir(parents=True)
    assert made(tmp_path, gpus=4)["GPUs"].ok is ok


def test_a_model_that_is_to_be_fetched_need_not_be_there(make_case: MakeCase) -> None:
    source = {"repo": "org/one"}
    case = make_case(engine="trtllm", metadata={"model_name": "/m/one"}, model=source)
    wanted = checks.of_job(case, Cluster(), TOKEN, ["--disagg-models-root=/m"])
    assert [path for what, path, _ in wanted.readable if what == "models"] == ["/m"]


def test_gpus_are_held_against_the_case_s_rules_on_every_node(
    make_case: MakeCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = make_case(engine="trtllm", machine={"throttled": "note", "mig": "ignore"})
    rules = checks.of_job(case, Cluster(), TOKEN, []).machine
    assert rules is not None
    assert (rules["ecc"], rules["mig"]) == ("fail", "ignore")
    assert checks.of_job(make_case(), Cluster(), TOKEN, []).machine is None
    # Nor of an engine that need not be a simulated one, as no role of it looks at them.
    workers = {kind: {"backend": "mocker"} for kind in ("gen", "ctx")}
    assert checks.of_job(make_case(engine="dynamo", worker_config=workers), Cluster(), TOKEN, []).machine is None

    bad = {**nvidia_smi.GPU, "uuid": "GPU-x", "ecc": 2, "reasons": ["hw_slowdown"], "mig": [(60, 40192, "MIG-x")]}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(smi, "read", lambda timeout_s: smi.parse(nvidia_smi.xml([nvidia_smi.GPU, bad])))
    assert made(tmp_path, machine=rules)["GPU state"] == (
        "GPU state",
        False,
        "GPU 1 (GPU-x): 2 uncorrected ECC errors since its driver was loaded",
        "0",
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert "GPU state" not in made(tmp_path, machine=rules)
    monkeypatch.setattr(smi, "read", lambda timeout_s: None)
    assert "GPU state" not in made(tmp_path, machine=rules)


def test_a_driver_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(timeout_s: float) -> None:
        raise SmiError(f"nvidia-smi gave no answer in {timeout_s:g} s")

    monkeypatch.setattr(smi, "read", hangs)
    check = made(tmp_path, machine={"timeout_s": 300.0})["GPU state"]
    assert (check.ok, check.found) == (False, "nvidia-smi gave no answer in 30 s")


def test_the_exit_code_and_what_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "token").write_text("7.0")
    good = checks.Wanted(__version__, str(tmp_path / "token"))
    assert node_check.main(good.text(), "7.0", str(tmp_path)) == 0
    assert node_check.main(good.text(), "7.1", str(tmp_path)) == checks.FAILED
    said = checks.read(["srun: a word", *capsys.readouterr().out.splitlines(), '{"node": "cut'])
    assert [each.check for each in said if not each.ok] == ["shared work directory"]
