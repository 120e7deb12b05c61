"""Job scripts of real cases are good bash: `bash -n` and shellcheck say nothing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.config.blocks import Clocks, Precheck
from pytest_disagg.config.case import Case
from pytest_disagg.config.cluster import Cluster
from pytest_disagg.config.cluster_env import load_rules
from pytest_disagg.config.resolve import load_cases, offered_cases
from pytest_disagg.launch.command import PytestCommand
from pytest_disagg.launch.slurm.plan import JobInput, plan_job
from pytest_disagg.launch.slurm.script import render

ROOT = Path(__file__).resolve().parents[2]
SPEC = (ROOT / "../shared/spec/trtllm-configs").resolve()
REAL = sorted(SPEC.glob("*/*.yaml"))
OWN = sorted((ROOT / "test_configs").rglob("*.yaml"))
HOSTILE = 'a\'; echo "foo" $(x) `y` \\ #\nb'
FULL: dict[str, Any] = {
    "container": "pyxis",
    "image": "registry/image:tag",
    "image_dir": "/images",
    "mpi": "pmix",
    "sbatch": ["--comment=it's $(x) `y` \\"],
    "srun": ["--cpu-bind=none"],
    "environment": {"all": {"set": {"HOSTILE": HOSTILE}}},
    "install": {"command": ["/bin/echo", HOSTILE.replace("\n", " ")]},
}
CLUSTERS = {"plain": {}, "full": FULL, "apptainer": {"container": "apptainer", "image": "/i.sif"}}


def scripts(case: Case, tmp_path: Path) -> Iterator[Path]:
    clocks = Clocks(gpu_mhz=1410, command=("/bin/echo", HOSTILE))
    case = replace(case, precheck=Precheck(command=("/bin/echo", HOSTILE)), clocks=clocks)
    for name, content in CLUSTERS.items():
        cluster = Cluster.model_validate({**content, "name": "oci-aga-1"})
        rules = load_rules(cluster.environment_rules) if cluster.environment_rules else None
        given = JobInput(
            job_dir=Path("/runs/jobs/a b"),
            work_dir=Path("/runs"),
            command=PytestCommand("t.py::test_e2e[x]", Path("/project"), None, (f"--disagg-set={HOSTILE}",)),
            python="/venv/bin/python",
            program=("/venv/bin/python", "/runs/jobs/a b/bin/slurm_run"),
            install_program=("/venv/bin/python", "/runs/jobs/a b/bin/slurm_install"),
            check_program=("/venv/bin/python", "/runs/jobs/a b/bin/node_check.py"),
            profiling={"gen": "1-100"},
        )
        path = tmp_path / f"{name}.sh"
        path.write_text(render(plan_job(case, cluster, rules, given)))
        yield path


def check(paths: list[Path]) -> None:
    for path in paths:
        done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not here: bash tests/apt.sh installs it")
    done = subprocess.run(["shellcheck", *map(str, paths)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(not REAL, reason="../shared is not here")
@pytest.mark.parametrize("path", REAL or [None], ids=lambda path: path.stem if path else "none")
def test_of_a_real_file(path: Path, tmp_path: Path) -> None:
    check(list(scripts(next(iter(offered_cases(path, environ={}))), tmp_path)))


def test_of_our_own_files(tmp_path: Path) -> None:
    for path in OWN:
        check(list(scripts(load_cases(str(path), environ={})[0], tmp_path)))
