"""Values that a shell, sbatch or srun would take for something else arrive as the data they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.slurm.jobs import ONE_NODE, Job, Project
from tests.slurm.lab import SlurmCluster

# Of submitit's tests of paths with special characters, and what bash, sbatch's patterns and YAML make of such things.
FOLDERS = [
    'a\'; echo foo "double" &amp|pipe $(touch injected) `touch injected` $unset ${unset}',
    "star*question?[a-z] #hash ~tilde !bang {brace,s} ünï\n0",
    "per%cent%j back\\slash",
]


@pytest.mark.parametrize("name", FOLDERS)
def test_a_project_in_a_folder_with_a_hostile_name(slurm: SlurmCluster, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    project = Project.make(folder, slurm)
    project.case("job", **ONE_NODE)
    try:
        command = project.run()
        job = Job(project, command, project.job_id(command))
        assert command.end() == 0, job.said()
        assert (job.rundir.path / f"slurm_{job.job_id}.log").read_text()
        assert job.rundir.pytest_log("GEN_0").read_text()
        assert list(tmp_path.rglob("injected")) == []
    finally:
        project.close()


def test_environment_values_arrive_as_they_are(project: Project) -> None:
    values = {
        "PLAIN": "word",
        "SPACES": "two words",
        "QUOTES": 'it\'s "quoted"',
        "DOLLARS": "$HOME $(touch injected) `touch injected` ${PATH}",
        "LINES": "first\nsecond",
        "SHELL": "a;b|c&d>e<f*g?[h]{i,j}~#!\\",
    }
    project.cluster(environment={"benchmark": {"set": values}, "all": {"unset": ["REMOVED"]}})
    project.case("job", **ONE_NODE)
    (project.folder / "test_it.py").write_text(
        "import json, os, pathlib\n"
        "def test_e2e(disagg_case):\n"
        "    if os.environ['DISAGG_SERVING_TYPE'] == 'BENCHMARK':\n"
        "        pathlib.Path('environment.json').write_text(json.dumps(dict(os.environ)))\n"
        "    disagg_case.run()\n"
    )
    command = project.disagg(
        *("run", "cases/job.yaml", "--config-dir=cases", "--test=test_it.py", "--junitxml=r.xml"),
        env={"REMOVED": "present", "KEPT": "a 'b' $c"},
    )
    job = Job(project, command, project.job_id(command))
    assert command.end() == 0, job.said()
    found = yaml.safe_load((project.folder / "environment.json").read_text())
    assert {name: found.get(name) for name in values} == values
    assert "REMOVED" not in found
    assert found["KEPT"] == "a 'b' $c"
    assert not (project.folder / "injected").exists()


def test_hostile_sbatch_options(project: Project) -> None:
    comment = 'it\'s "a" $(touch injected) #comment \\ %j'
    project.cluster(sbatch=[f"--comment={comment}"])
    command = project.run("--no-wait")
    job_id = project.job_id(command)
    assert comment in project.slurm.call("squeue", "-h", "-o", "%k", "-j", job_id)
    project.slurm.call("scancel", job_id)
