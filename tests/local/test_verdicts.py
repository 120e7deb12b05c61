"""Runs judged against their history: measured again, red, explained, and never a pass where it cannot be read."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.store.local import keep
from pytest_disagg.store.truth import file_name
from tests.unit.verdict.series import DAY_MS, noise

CASE = """
engine: sim
cases: [aggr]
metadata: {model_name: tiny}
slurm: {timeout: 600}
timeouts: {launch_s: 60, ready_s: 60, probe_s: 30, warmup_s: 30, stall_s: 30, store_s: 30, stop_s: 30, grace_s: 1}
hardware: {gpus_per_node: 4}
sim: {decode_step_ms: 2}
server_configs:
  - name: one
    client_configs: [{concurrency: 2, iterations: 2, isl: 16, osl: 8}]
verdict:
  remeasure: 3
  metrics:
    total_token_throughput: {role: report}
    median_ttft: {role: report}
    median_tpot: {role: report}
"""
ID = "aggr-one"
GATE = "token_throughput"


@dataclass(frozen=True)
class Ran:
    """One session: exit code, output, properties and failure in junit, records and verdicts of its run."""

    code: int
    output: str
    properties: dict[str, str]
    failure: str
    records: list[dict[str, Any]]
    verdicts: list[dict[str, Any]]


Play = Callable[..., Ran]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "one.yaml").write_text(CASE)
    (tmp_path / "test_it.py").write_text("def test_e2e(disagg_case):\n    disagg_case.run()\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\ndisagg_config_dir = configs\n")
    unwanted = ("DISAGG_", "SLURM_", "PYTEST_", "OPEN", "PERF_", "BUILD", "JOB_", "globalVars", "git", "GIT_", "stage")

    def run(*options: str) -> Ran:
        environ = {key: value for key, value in os.environ.items() if not key.startswith(unwanted)}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=r.xml"]
        done = subprocess.run(
            [*command, f"--disagg-history={tmp_path / 'history'}", *options, f"test_it.py::test_e2e[{ID}]"],
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
        results = Path(found["disagg_run_dir"]) / "results"
        return Ran(
            done.returncode,
            done.stdout,
            found,
            "" if failure is None else f"{failure.get('message')}\n{failure.text}",
            [json.loads(line) for line in (results / "records.jsonl").read_text().splitlines()],
            json.loads((results / "verdicts.json").read_text()),
        )

    return run


def remember(history: Path, like: dict[str, Any], level: float) -> None:
    """Twelve nights before that record, at that level."""
    for day, value in enumerate(noise(12, level=level), 1):
        name = f"night{day}"
        older = {**like, "s_run_id": name, "ts_created": like["ts_created"] - (13 - day) * DAY_MS, f"d_{GATE}": value}
        keep(history, file_name(name, ID), [older])


def gates(ran: Ran) -> list[str]:
    return [each["word"] for each in ran.verdicts if each["gates"]]


def test_from_no_history_to_a_regression(play: Play, tmp_path: Path) -> None:
    history = tmp_path / "history"
    first = play()
    assert (first.code, first.properties["disagg_verdict"]) == (0, "insufficient-history")
    assert gates(first) == ["insufficient-history"]

    shutil.rmtree(history)
    remember(history, first.records[0], 3 * first.records[0][f"d_{GATE}"])
    slower = play()
    assert slower.code == 1, slower.output
    assert slower.properties["disagg_kind"] == "regression"
    assert slower.failure.startswith(f"regression: con2: {GATE} ")
    assert "last good run night12" in slower.failure
    repeats = [record["l_repeat"] for record in slower.records]
    assert repeats in ([0, 1, 2], [0, 1, 2, 3]), "measured again before it is called red"
    assert {record["s_verdict"] for record in slower.records} == {"regression"}
    assert {record["b_is_regression"] for record in slower.records} == {True}
    assert "suspected regression, measuring again" in slower.output

    for policy, word in (("baseline", "insufficient-history"), ("compatible", "insufficient-history")):
        ran = play(f"--disagg-policy={policy}")
        assert (ran.code, ran.properties["disagg_verdict"]) == (0, word)

    records = slower.properties["disagg_run_dir"]
    command = [sys.executable, "-m", "pytest_disagg.cli.main", "verdict"]
    for action, code in (("check", 1), ("explain", 0)):
        done = subprocess.run(
            [*command, action, records, "--history", str(history)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "regression" in done.stdout


def test_a_history_that_cannot_be_read_is_no_pass(play: Play, tmp_path: Path) -> None:
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "records").write_text("not a folder")
    (tmp_path / "base.csv").write_text(f"test_name,throughput,latency\n{ID},0.001,\n")
    ran = play(f"--disagg-baseline={tmp_path / 'base.csv'}")
    assert (ran.code, ran.properties["disagg_verdict"]) == (0, "insufficient-history")
    assert sorted(gates(ran)) == ["improvement", "insufficient-history"]
    assert "the history could not be read" in ran.output


def test_a_wrong_policy_or_metric_is_said_before_anything_starts(play: Play, tmp_path: Path) -> None:
    path = tmp_path / "configs" / "one.yaml"
    path.write_text(CASE.replace("median_tpot:", "median_topt:"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    for option, expected in (
        ("--disagg-policy=strict", "found 'strict', expected one of post, pre, compatible, baseline"),
        ("--disagg-policy=post", "verdict.metrics.median_topt"),
    ):
        done = subprocess.run([*command, option], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode != 0
        assert expected in done.stdout + done.stderr


def test_the_benchmarks_print_their_tables(tmp_path: Path) -> None:
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    values = [*noise(20), *noise(20, level=90, seed=2)]
    series = {"values": values, "annotations": {"a": [20], "b": [19]}, "methods": {"blind": []}}
    (tmp_path / "step.json").write_text(json.dumps(series))
    for script, arguments, expected in (
        ("segments.py", [str(tmp_path)], ("| ours | 1.000 | 1.000 | 1.000 |", "| blind | 0.000 | 1.000 | 0.000 |")),
        (
            "verdicts.py",
            ["--series", "4", "--rules", "ours", "compatible", "--models", "gaussian 1 %"],
            ("### compatible", "| gaussian 1 % | 0.00 % |", "| 30 | "),
        ),
    ):
        command = [sys.executable, str(folder / script), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        for part in expected:
            assert part in done.stdout, done.stdout


def test_a_regression_in_quarantine_and_after_it(play: Play, tmp_path: Path) -> None:
    """It keeps its word, is kept, and moves no reference: after the last day the same regression is red."""
    history = tmp_path / "history"
    file = tmp_path / "configs/baselines/quarantine.yaml"
    file.parent.mkdir()
    first = play()
    level = 3 * first.records[0][f"d_{GATE}"]
    shutil.rmtree(history)
    remember(history, first.records[0], level)
    today = datetime.date.today()

    def line(begin: datetime.date, until: datetime.date) -> None:
        text = f"date: {begin}, case: {ID}, owner: ann, until: {until}, reason: a slower sampler"
        file.write_text(f"quarantine:\n  - {{{text}}}\n")

    line(today, today)
    held = play()
    words = f"quarantined by ann until {today}: a slower sampler"
    assert held.code == 0, held.output
    assert (held.properties["disagg_verdict"], held.properties["disagg_kind"]) == ("regression", "regression")
    assert held.properties["disagg_quarantine"] == words
    assert held.properties["disagg_red"].startswith(f"regression: con2: {GATE} ")
    assert {(each["s_verdict"], each["b_quarantined"], each["s_quarantine"]) for each in held.records} == {
        ("regression", True, words)
    }
    kept = (history / "records" / file_name(held.properties["disagg_run_id"], ID)).read_text().splitlines()
    assert [json.loads(each)["b_quarantined"] for each in kept] == [True] * len(held.records)

    yesterday = today - datetime.timedelta(days=1)
    line(yesterday, yesterday)
    after = play()
    assert after.code == 1, after.output
    assert after.failure.startswith(f"regression: con2: {GATE} ")
    assert f"quarantine of {ID} by ann ended on {yesterday}: remove the line or mend it" in after.failure
    before, again = ([each["reference"] for each in ran.verdicts if each["gates"]] for ran in (held, after))
    assert before == again
    assert again[0] == pytest.approx(level, rel=0.02)
    assert "b_quarantined" not in after.records[0]
