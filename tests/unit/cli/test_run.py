"""``disagg run`` as far as it gets without Slurm: what is selected, what is refused, the dry run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pytest_disagg.cli.main import main

CASE = {
    "engine": "sim",
    "cases": ["disagg-e2e"],
    "metadata": {"model_name": "m"},
    "slurm": {"timeout": 600},
    "benchmark": {"concurrency_list": "1", "input_length": 8, "output_length": 8, "multi_round": 1},
    "hardware": {"gpus_per_node": 4, "num_ctx_servers": 1, "num_gen_servers": 1},
    "worker_config": {"gen": {"tensor_parallel_size": 4}, "ctx": {"tensor_parallel_size": 4}},
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two cases and no cluster file, whatever the machine has."""
    (tmp_path / "test_configs").mkdir()
    for name in ("first", "second"):
        (tmp_path / "test_configs" / f"{name}.yaml").write_text(yaml.safe_dump(CASE))
    (tmp_path / "list.txt").write_text("first TIMEOUT (5)\nsecond SKIP (later)\nnosuch\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("DISAGG_CLUSTER", "DISAGG_CONFIG_DIR", "DISAGG_WORK_DIR", "stageName", "DISAGG_LLM_SRC"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


def test_a_dry_run_of_a_list(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--test-list", "list.txt", "--dry-run"]) == 4
    out = capsys.readouterr().out
    assert out.startswith(
        "disagg-e2e-first  TIMEOUT (5)  (list.txt:1)\n"
        "disagg-e2e-second  SKIP (later)  (list.txt:2)\n"
        "nosuch  (list.txt:3)  config: list.txt:3: 'nosuch': found no such config file"
    )
    assert out.count("#SBATCH --nodes=") == 1
    assert "--disagg-set=slurm.timeout=300" in out
    assert not (project / "disagg-runs").exists()


def test_lists_and_targets_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "second", "--test-list=list.txt", "-k", "not nosuch", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "list.txt:2: disagg-e2e-second again, first at command line: it runs once\n" in out
    assert out.count("#SBATCH --nodes=") == 2


def test_nothing_selected(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", "--test-list=list.txt", "-k", "third", "--junitxml=r.xml"]
    assert main(arguments) == 5
    assert capsys.readouterr().out == "nothing selected (3 left out)\n"
    assert "<testcase" not in (project / "r.xml").read_text()
    assert main([*arguments, "--allow-empty"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to run: expected a CASE or --test-list FILE"),
        (["nosuch", "--test-list=list.txt"], "found no such config file"),
        (["--test-list=none.txt"], "none.txt: found No such file or directory"),
        (["first", "--test=none.py"], "--test: found 'none.py', expected a test module"),
        (["first", "--test-db-match=gpu=gb200"], "no test-db file is among the lists"),
        (["first", "-k", "and"], "-k 'and': found 'and' at column 1"),
        (["first", "--max-jobs=0"], "found '0', expected at least 1"),
        (["first", "--retries=x"], "found 'x', expected a whole number"),
    ],
)
def test_what_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *arguments, "--dry-run"]) == 4
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--max-jobs=2", "--stop-on-error"])
def test_no_wait_with_what_needs_waiting(
    project: Path, option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for program in ("sbatch", "squeue", "scontrol", "scancel"):
        (project / program).write_text("#!/bin/sh\nexit 1\n")
        (project / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(project))
    assert main(["run", "first", "--no-wait", option]) == 4
    assert f"--no-wait: found {option.partition('=')[0]}, expected nothing" in capsys.readouterr().err


def test_a_waive_of_the_stages_platform(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "waives.txt").write_text("full:GB200/perf/test_perf_sanity.py::test_e2e[disagg-e2e-first] SKIP (bug)\n")
    arguments = ["run", "first", "--waives-file=waives.txt", "--dry-run"]
    assert main([*arguments, "--stage-name=GB200-8_GPUs-1"]) == 0
    assert "#SBATCH" not in capsys.readouterr().out
    assert main([*arguments, "--stage-name=B200-8_GPUs-1"]) == 0
    assert "#SBATCH" in capsys.readouterr().out


def test_a_case_that_this_cluster_cannot_take(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "cluster.yaml").write_text("clusters: {small: {gpus_per_node: 2}}\n")
    problem = "hardware.gpus_per_node: found 4, expected at most 2, what a node of cluster 'small' has"
    assert main(["run", "first", "--cluster=cluster.yaml", "--dry-run"]) == 4
    assert problem in capsys.readouterr().err
    assert main(["run", "--test-list=list.txt", "-k", "first", "--cluster=cluster.yaml", "--dry-run"]) == 4
    out = capsys.readouterr().out
    assert out.startswith("disagg-e2e-first  TIMEOUT (5)  (list.txt:1)  config: list.txt:1: ")
    assert problem in out


def test_profiling_is_part_of_the_case_and_stands_before_its_servers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "first", "--dry-run", "--capture-nsys"]) == 0
    said = capsys.readouterr().out
    assert "--disagg-set=profiling.nsys_on=true" in said
    assert said.count("TLLM_PROFILE_START_STOP=1-100 nsys profile") == 2


def test_a_range_without_profiling(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "first", "--dry-run", "--gen-nsys-start-stop=1-5"]) == 4
    assert "found --gen-nsys-start-stop, expected --capture-nsys beside it" in capsys.readouterr().err
