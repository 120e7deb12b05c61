"""What a role of a simulated case must not pay for at its start, whoever adds an import."""

from __future__ import annotations

import json
import subprocess
import sys

UNNEEDED = {
    "requests",
    "urllib3",
    "aiohttp",
    "asyncio",
    "jinja2",
    "matplotlib",
    "sqlite3",
    "pytest_disagg.machine.smi",
    "pytest_disagg.models.request",
    "pytest_disagg.telemetry.recorder",
    "pytest_disagg.verdict.update",
}


def test_a_worker_and_the_coordinator_import_no_http_package() -> None:
    modules = "pytest_disagg.plugin.play, pytest_disagg.engines.sim.engine, pytest_disagg.roles.worker"
    script = f"import sys, json, {modules}, pytest_disagg.roles.coordinator; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert UNNEEDED.isdisjoint(json.loads(done.stdout)), UNNEEDED.intersection(json.loads(done.stdout))
