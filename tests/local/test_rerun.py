"""`disagg rerun` on this machine: the same again by its run id, from what the history kept of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pytest_disagg.store.local import keep
from pytest_disagg.store.truth import file_name
from tests.local.test_verdicts import CASE, GATE, ID
from tests.unit.verdict.series import DAY_MS, noise

UNWANTED = ("DISAGG_", "SLURM_", "PYTEST_", "OPEN", "PERF_", "BUILD", "JOB_", "globalVars", "git", "GIT_", "stage")
SECRET = "hunter2-is-secret"
SETS = ("--disagg-set=server_configs.0.client_configs.0.iterations=3", "--disagg-repeat=2")


@dataclass(frozen=True)
class Done:
    code: int
    output: str


@dataclass
class Project:
    """A project with one case, and what is run in it."""

    folder: Path

    @property
    def history(self) -> Path:
        return self.folder / "history"

    def call(self, *words: str, **environ: str) -> Done:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(UNWANTED)}
        done = subprocess.run(
            [sys.executable, "-m", *words],
            cwd=self.folder,
            env={**clean, "DISAGG_HTML": "none", "DISAGG_HISTORY": str(self.history), **environ},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Done(done.returncode, done.stdout + done.stderr)

    def play(self, *options: str, **environ: str) -> dict[str, str]:
        """One session of pytest; the properties of its test."""
        words = ("pytest", "-q", "-p", "no:cacheprovider", "--junitxml=r.xml", *options, f"test_it.py::test_e2e[{ID}]")
        done = self.call(*words, **environ)
        test = ElementTree.parse(self.folder / "r.xml").getroot().find(".//testcase")
        assert test is not None, done.output
        return {str(each.get("name")): str(each.get("value")) for each in test.iter("property")}

    def rerun(self, *words: str, **environ: str) -> Done:
        return self.call("pytest_disagg.cli.main", "rerun", *words, **environ)

    def records(self) -> dict[str, list[dict[str, Any]]]:
        """The history's records by run."""
        found: dict[str, list[dict[str, Any]]] = {}
        for path in (self.history / "records").glob("*.jsonl"):
            for line in path.read_text().splitlines():
                record = json.loads(line)
                found.setdefault(record["s_run_id"], []).append(record)
        return found

    def manifest(self, run_id: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.history / "manifests" / f"{run_id}.{ID}.json").read_text())
        return content


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "configs" / "baselines").mkdir(parents=True)
    (tmp_path / "configs" / "baselines" / "sim.csv").write_text(f"test_name,throughput,latency\n{ID},0.001,\n")
    (tmp_path / "configs" / "one.yaml").write_text(CASE + f'environment: {{worker_env_var: "HF_TOKEN={SECRET}"}}\n')
    (tmp_path / "test_it.py").write_text("def test_e2e(disagg_case):\n    disagg_case.run()\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\ndisagg_config_dir = configs\n")
    return Project(tmp_path)


def test_the_same_again_without_its_files(project: Project) -> None:
    first = project.play(*SETS)
    run_id = first["disagg_run_id"]
    # The run directory is purged, the case file has changed its name: only the history remembers.
    shutil.rmtree(project.folder / "disagg-runs")
    moved = (project.folder / "configs" / "one.yaml").rename(project.folder / "moved.yaml")
    text = (project.history / "manifests" / f"{run_id}.{ID}.json").read_text()
    assert SECRET not in text

    lacking = project.rerun(run_id)
    assert lacking.code == 4, lacking.output
    assert "environment.worker_env_var (set DISAGG_RERUN_ENVIRONMENT_WORKER_ENV_VAR)" in lacking.output
    shown = project.rerun(run_id, "--dry-run", f"--config={moved}")
    assert shown.code == 0, shown.output
    assert f"test_it.py::test_e2e[{ID}]" in shown.output
    assert SECRET not in shown.output

    done = project.rerun(run_id, f"--config={moved}", "--junitxml=again.xml", DISAGG_REPEAT="1", DISAGG_CLIENT="none")
    assert done.code == 0, done.output
    assert SECRET not in done.output
    runs = project.records()
    (again,) = runs.keys() - {run_id}
    assert {record["s_rerun_of"] for record in runs[again]} == {run_id}
    assert all("s_rerun_of" not in record for record in runs[run_id])
    for name in ("s_config_digest", "s_case_id", "l_iterations", "l_repeat"):
        assert [record[name] for record in runs[again]] == [record[name] for record in runs[run_id]], name
    assert [record["l_repeat"] for record in runs[again]] == [0, 1]
    manifest = project.manifest(again)
    assert manifest["rerun_of"] == run_id
    assert manifest["config"]["digest"] == first["disagg_config_digest"]
    (test,) = ElementTree.parse(project.folder / "again.xml").getroot().iter("testcase")
    said = {str(each.get("name")): str(each.get("value")) for each in test.iter("property")}
    assert said["disagg_run_id"] == again
    assert "sim.csv" in said["disagg_lines"], "judged by the baselines that judged it before"

    # What was run again can be run again, by another shell, with another value for what is secret.
    other = project.rerun(again, DISAGG_RERUN_ENVIRONMENT_WORKER_ENV_VAR="HF_TOKEN=other")
    assert other.code == 4, other.output
    assert "found config digest" in other.output
    twice = project.rerun(again, "--dry-run", DISAGG_RERUN_ENVIRONMENT_WORKER_ENV_VAR=f"HF_TOKEN={SECRET}")
    assert twice.code == 0, twice.output


def test_what_is_not_as_it_was(project: Project) -> None:
    run_id = project.play()["disagg_run_id"]
    path = project.folder / "disagg-runs" / run_id / ID / "results" / "manifest.json"
    manifest = json.loads(path.read_text())
    packages = {**manifest["packages"], "pydantic": "0.1"}
    client = {"name": "aiperf", "version": "0.0"}
    path.write_text(json.dumps({**manifest, "version": "0.0.1", "packages": packages, "client": client}))
    shown = project.rerun(str(path.parents[1]), "--dry-run")
    assert shown.code == 0, shown.output
    assert "warning: pytest-disagg was 0.0.1, here it is " in shown.output
    assert "warning: pydantic was 0.1, here " in shown.output
    assert "warning: client aiperf was 0.0, here" in shown.output
    strict = project.rerun(str(path), "--dry-run", "--strict")
    assert strict.code == 4, strict.output
    assert "pip install pytest-disagg==0.0.1" in strict.output
    path.write_text(json.dumps({name: value for name, value in manifest.items() if name != "rerun"}))
    old = project.rerun(run_id)
    assert old.code == 4, old.output
    assert "found no 'rerun' part" in old.output
    nothing = project.rerun("never-was")
    assert nothing.code == 4, nothing.output
    assert "found no manifest of 'never-was'" in nothing.output


def test_a_regression_names_the_command_for_both_runs(project: Project) -> None:
    good = project.play()
    (kept,) = project.records()[good["disagg_run_id"]]
    for day, value in enumerate(noise(12, level=3 * kept[f"d_{GATE}"]), 1):
        older = {**kept, "s_run_id": f"night{day}", "ts_created": kept["ts_created"] - (13 - day) * DAY_MS}
        keep(project.history, file_name(f"night{day}", ID), [{**older, f"d_{GATE}": value}])
    # Such nights have manifests as that of the run they are made from.
    manifest = project.manifest(good["disagg_run_id"])
    path = project.history / "manifests" / f"night12.{ID}.json"
    path.write_text(json.dumps({**manifest, "run_id": "night12"}))
    (project.history / "records" / file_name(good["disagg_run_id"], ID)).unlink()

    slower = project.call(
        *("pytest", "-q", "-p", "no:cacheprovider", "--junitxml=r.xml", f"test_it.py::test_e2e[{ID}]"),
        DISAGG_RUN_ID="slower",
    )
    assert slower.code == 1, slower.output
    command = f"disagg rerun night12::{ID} slower::{ID}"
    assert f"last good and first bad again: {command}" in slower.output
    failure = ElementTree.parse(project.folder / "r.xml").getroot().find(".//failure")
    assert failure is not None
    assert command in (failure.text or "")
    records = project.folder / "disagg-runs" / "slower" / ID / "results" / "records.jsonl"
    explained = project.call("pytest_disagg.cli.main", "verdict", "explain", str(records))
    assert f"both again: {command}" in explained.output
    done = project.rerun(*command.split()[2:], "--dry-run")
    assert done.code == 0, done.output
    assert done.output.count("-m pytest ") == 2
