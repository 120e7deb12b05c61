"""Runs at the edge of what people do: names that are not ASCII, paths with spaces, repeats that cannot be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_disagg.cli.main import EXIT_USAGE, main

CASE = """
engine: sim
cases: [{case}]
metadata: {{model_name: tiny}}
slurm: {{timeout: 240}}
timeouts: {{launch_s: 30, ready_s: 20, probe_s: 5, warmup_s: 5, stall_s: 5, store_s: 5, stop_s: 10, grace_s: 1}}
hardware: {{gpus_per_node: 4, num_ctx_servers: 1, num_gen_servers: 1}}
benchmark: {{concurrency_list: 2, multi_round: 4, input_length: 16, output_length: 16}}
worker_config: {{ctx: {{}}, gen: {{}}}}
sim: {{decode_step_ms: 2}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "Prüfung mit Leerzeichen"
    (folder / "test_configs").mkdir(parents=True)
    (folder / "test_it.py").write_text("def test_e2e(disagg_case):\n    disagg_case.run()\n")
    (folder / "pytest.ini").write_text("[pytest]\n")
    return folder


def play(folder: Path, *options: str) -> tuple[int, str]:
    """Exit code and output of a session that runs what ``-k`` selects."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("DISAGG_", "SLURM_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    environ["DISAGG_HTML"] = "none"
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout + done.stderr


def run_of(folder: Path) -> Path:
    (path,) = (folder / "disagg-runs").glob("*/*")
    return path


def test_a_name_and_a_path_that_are_not_ascii(folder: Path) -> None:
    (folder / "test_configs" / "größe.yaml").write_text(CASE.format(case="disagg-e2e"), encoding="utf-8")
    code, output = play(folder, "-k", "disagg")
    assert code == 0, output
    assert "disagg-e2e-größe" in output
    outcome = json.loads((run_of(folder) / "outcome.json").read_text())
    assert outcome["case"] == "disagg-e2e-größe"


def test_a_deployment_that_takes_one_load_says_so_where_repeats_are_asked_for(folder: Path) -> None:
    (folder / "test_configs" / "pair.yaml").write_text(CASE.format(case="disagg-gen_only"))
    code, output = play(folder, "-k", "pair", "--disagg-repeat=3")
    assert code == 0, output
    assert "measured once, not 3 times: a gen_only deployment of engine sim takes one load" in output


def test_a_dataset_that_is_not_there_is_an_outcome_of_the_stage_plan(folder: Path) -> None:
    (folder / "test_configs" / "pair.yaml").write_text(CASE.format(case="disagg-e2e"))
    code, output = play(folder, "-k", "pair", "--disagg-set=benchmark.dataset_file=/nowhere/d.jsonl", "--tb=line")
    assert code == 1
    outcome = json.loads((run_of(folder) / "outcome.json").read_text())
    first = outcome["red"][0]
    assert first.startswith("infrastructure: BENCHMARK failed in stage plan: ")
    assert "/nowhere/d.jsonl, which is not there" in first
    assert (run_of(folder) / "results" / "manifest.json").exists()
    # What --tb=line prints is the message, not how the object that holds it is written in Python.
    assert "Crash(" not in output
    assert f"\n{first}" in output


def test_one_url_cannot_stand_for_several_servers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "two.yaml").write_text(
        "engine: sim\ncases: [aggr]\nmetadata: {model_name: m}\nhardware: {gpus_per_node: 4}\n"
        "timeouts: {probe_s: 5}\nserver_configs:\n"
        "  - {name: a, client_configs: [{concurrency: 1, iterations: 1, isl: 8, osl: 8}]}\n"
        "  - {name: b, client_configs: [{concurrency: 1, iterations: 1, isl: 8, osl: 8}]}\n"
    )
    places = ["--config-dir", str(tmp_path), "--work-dir", str(tmp_path / "runs")]
    code = main(["bench", "aggr-two", "--url", "http://127.0.0.1:9", *places])
    assert code == EXIT_USAGE
    assert "found 2 servers (a, b) for one --url, expected one; give the test id of one: aggr-two-a" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "runs").exists()
