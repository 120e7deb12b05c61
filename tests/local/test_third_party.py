"""An engine of another package, known by its entry point alone: `disagg plan` and pytest take it as they take ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pytester.conftest import AGGR, clean_environment, make_project, properties, run_pytest

ENGINE = '''\
"""Servers of somebody else: the simulated program, started by a command line of their own."""

import json
import sys

from pytest_disagg.engines.base import BaseEngine
from pytest_disagg.engines.protocol import Launch
from pytest_disagg.errors import UsageError


class TheirEngine(BaseEngine):
    name = "theirs"

    def unavailable(self, case):
        return None if case.id.runtime == "alone" else "theirs has no coordinator"

    def secrets(self, case):
        return ("api_key",)

    def server(self, request):
        settings = request.config_dir / "their.json"
        private = request.secrets_dir / "their.key"
        port = request.site.port()
        argv = (
            *(sys.executable, "-m", "pytest_disagg.engines.sim", "server", "--kind", "server"),
            *("--settings", str(settings), "--host", request.host, "--port", str(port)),
            *("--address-file", str(request.address_file)),
        )
        text = json.dumps({"role": "THEIRS", "model": request.spec.model, "timing": {}, "faults": []})
        return Launch(
            argv,
            address=f"{request.host}:{port}",
            env={"THEIR_KEY_FILE": str(private)},
            files={settings: text, private: f"api_key: {request.site.secrets['api_key']}\\n"},
        )

    def coordinator(self, request):
        raise UsageError("theirs has no coordinator")
'''
CASE = AGGR.replace("engine: sim", "engine: theirs")


@pytest.fixture
def site(tmp_path: Path) -> str:
    """PYTHONPATH with the package as pip would leave it: a module and its metadata."""
    site = tmp_path / "site"
    info = site / "their_engine-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "their_engine.py").write_text(ENGINE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pytest_disagg.engines]\ntheirs = their_engine:TheirEngine\n")
    return os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))


def test_it_runs(tmp_path: Path, site: str) -> None:
    assert len(ENGINE.splitlines()) <= 45
    project = make_project(tmp_path / "project", case=CASE)
    argv = ("-p", "no:cacheprovider", "--junitxml=r.xml", "--disagg-work-dir=runs")
    finished = run_pytest(project, *argv, PYTHONPATH=site, DISAGG_RUN_ID="r")
    assert finished.code == 0, finished.out
    ((_, test),) = finished.tests().items()
    assert [child.tag for child in test if child.tag != "properties"] == [], finished.out
    assert properties(test)["disagg_kind"] == ""
    rundir = project / "runs" / "r" / "aggr-case"
    assert not (rundir / "secrets").exists()
    assert "***" in (rundir / "config" / "SERVER_0" / "their.key").read_text()


def test_its_commands_are_shown(tmp_path: Path, site: str) -> None:
    project = make_project(tmp_path / "project", case=CASE)
    argv = [sys.executable, "-m", "pytest_disagg.cli.main", "plan", "test_configs/case.yaml", "--commands"]
    env = clean_environment(PYTHONPATH=site)
    done = subprocess.run(argv, cwd=project, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "THEIR_KEY_FILE=/RUN_DIR/secrets/SERVER_0/their.key" in done.stdout
    assert "--host node0 --port 0 --address-file /RUN_DIR/config/SERVER_0/address" in done.stdout
    assert "api_key: ***" in done.stdout
