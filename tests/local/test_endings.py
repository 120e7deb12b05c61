"""Runs that measured something and end red, or not green: who says so, and what is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CASE = """
engine: sim
cases: [{cases}]
metadata: {{model_name: tiny}}
slurm: {{timeout: 240}}
timeouts: {{launch_s: 30, ready_s: 20, probe_s: 5, warmup_s: 5, stall_s: 5, store_s: 5, stop_s: 10, grace_s: 1}}
hardware: {{gpus_per_node: 4{hardware}}}
sim: {{decode_step_ms: 2}}
"""
AGGREGATED = (
    CASE.format(cases="aggr", hardware="")
    + """
server_configs:
  - name: one
    client_configs: [{concurrency: 2, iterations: 4, isl: 16, osl: 8}]
  - name: two
    client_configs: [{concurrency: 4, iterations: 2, isl: 16, osl: 8}]
"""
)
DISAGGREGATED = (
    CASE.format(cases="disagg-e2e", hardware=", num_ctx_servers: 1, num_gen_servers: 1")
    + """
benchmark: {concurrency_list: 2, multi_round: 4, input_length: 16, output_length: 8}
worker_config: {ctx: {}, gen: {}}
"""
)


@dataclass(frozen=True)
class Ran:
    """One pytest session: its exit code, output, the case's properties and failure in junit, its run directory."""

    code: int
    output: str
    properties: dict[str, str]
    failure: str
    run: Path

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.run / "results" / "records.jsonl").read_text().splitlines()]


@pytest.fixture
def play(tmp_path: Path) -> Any:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "pair.yaml").write_text(DISAGGREGATED)
    (tmp_path / "configs" / "both.yaml").write_text(AGGREGATED)
    (tmp_path / "test_it.py").write_text("def test_e2e(disagg_case):\n    disagg_case.run()\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\ndisagg_config_dir = configs\n")

    def run(case_id: str, *options: str) -> Ran:
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("DISAGG_", "SLURM_", "PYTEST_"))}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=r.xml", *options]
        done = subprocess.run(
            [*command, f"test_it.py::test_e2e[{case_id}]"],
            cwd=tmp_path,
            env={**environ, "DISAGG_HTML": "none"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        test = ET.parse(tmp_path / "r.xml").getroot().find(".//testcase")
        assert test is not None, done.stdout + done.stderr
        failure = test.find("failure")
        found = {str(each.get("name")): str(each.get("value")) for each in test.iter("property")}
        (directory,) = (tmp_path / "disagg-runs").glob(f"*/{case_id}")
        text = "" if failure is None else f"{failure.get('message')}\n{failure.text}"
        return Ran(done.returncode, done.stdout, found, text, directory)

    return run


def baseline(tmp_path: Path, text: str) -> str:
    (tmp_path / "base.csv").write_text(f"test_name,throughput,latency\n{text}\n")
    return f"--disagg-baseline={tmp_path / 'base.csv'}"


def test_a_regression_is_measured_again_and_red_at_benchmark_alone(play: Any, tmp_path: Path) -> None:
    ran = play("disagg-e2e-pair", baseline(tmp_path, "disagg-e2e-pair,1000000,0.001"))
    assert ran.code == 1
    assert ran.failure.startswith("regression: con2: token_throughput ")
    assert "median of 3 against 1e+06" in ran.failure
    assert (ran.properties["disagg_verdict"], ran.properties["disagg_kind"]) == ("regression", "regression")
    assert [record["l_repeat"] for record in ran.records()] == [0, 1, 2]
    assert {record["s_verdict"] for record in ran.records()} == {"regression"}
    for role in ("GEN_0", "CTX_0", "DISAGG_SERVER"):
        assert 'failures="0"' in (ran.run / "junit" / f"{role}.xml").read_text()


def test_a_case_without_a_row_is_neither_red_nor_a_pass(play: Any, tmp_path: Path) -> None:
    ran = play("disagg-e2e-pair", baseline(tmp_path, "something-else,1,1"))
    assert ran.code == 0
    assert ran.properties["disagg_verdict"] == "insufficient-history"
    assert "insufficient-history" in ran.output
    assert "no row of" in ran.output


def test_within_the_baseline_is_a_pass(play: Any, tmp_path: Path) -> None:
    ran = play("aggr-both-one", baseline(tmp_path, "aggr-both-one,0.001,1000000"))
    assert (ran.code, ran.properties["disagg_verdict"]) == (0, "improvement")


def test_numbers_that_cannot_be_trusted_are_invalid_not_a_regression(play: Any, tmp_path: Path) -> None:
    options = (baseline(tmp_path, "disagg-e2e-pair,1000000,0.001"), "--disagg-set=gate.max_client_cpu=0.00001")
    ran = play("disagg-e2e-pair", *options)
    assert ran.code == 1
    assert ran.failure.startswith("invalid: con2: the client was the bottleneck")
    assert "regression" not in ran.failure
    assert ran.properties["disagg_kind"] == "invalid"
    (record,) = ran.records()
    assert (record["b_is_valid"], record["s_verdict"]) == (False, "invalid")


def test_failed_requests_are_functional_and_red_everywhere(play: Any) -> None:
    faults = "sim.faults=[{role: GEN_0, kind: fail_requests, ratio: 0.5, after_requests: 6}]"
    ran = play("disagg-e2e-pair", f"--disagg-set={faults}")
    assert ran.failure.startswith("functional: con2: ")
    assert "requests failed" in ran.failure
    assert "requests failed" in (ran.run / "junit" / "GEN_0.xml").read_text()


def test_what_was_measured_before_a_failure_is_kept(play: Any) -> None:
    ran = play("aggr-both", "--disagg-set=sim.faults=[{role: SERVER_1, kind: exit, exit_code: 9}]")
    assert ran.code == 1
    assert ran.failure.startswith("functional: BENCHMARK failed in stage ")
    assert "server 1 (two) ended with exit code 9" in ran.failure
    assert [record["s_server_name"] for record in ran.records()] == ["one"]
    assert ran.records()[0]["b_is_valid"] is True


def test_a_broken_baseline_fails_before_anything_is_measured(play: Any, tmp_path: Path) -> None:
    ran = play("disagg-e2e-pair", baseline(tmp_path, "disagg-e2e-pair,fast,1"))
    assert ran.failure.startswith("infrastructure: BENCHMARK failed in stage plan: ")
    assert "base.csv:2: throughput: found 'fast'" in ran.failure
    assert not (ran.run / "results" / "records.jsonl").exists()


def test_a_manifest_says_what_ran(play: Any) -> None:
    environ_secret = "hunter22-hunter22"
    os.environ["MY_API_TOKEN"] = environ_secret
    try:
        ran = play("aggr-both-one")
    finally:
        del os.environ["MY_API_TOKEN"]
    manifest = json.loads((ran.run / "results" / "manifest.json").read_text())
    assert manifest["config"]["digest"] == ran.properties["disagg_config_digest"]
    assert manifest["environment"]["MY_API_TOKEN"] == "***"
    assert {"plan", "launch", "ready", "probe", "warm-up", "measure", "gate", "judge"} <= set(manifest["stages"])
    every = "".join(path.read_text(errors="replace") for path in ran.run.rglob("*") if path.is_file())
    assert environ_secret not in every + ran.output
