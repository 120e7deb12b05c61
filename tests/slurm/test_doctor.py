"""`disagg doctor` finds what is wrong, and nothing where all is well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.slurm.jobs import Project


def test_a_cluster_that_is_as_its_file_says(project: Project) -> None:
    project.cluster(gpus_per_node=4, models_root=str(project.folder))
    command = project.disagg("doctor")
    assert command.end() == 0, command.output
    assert "all is well" in command.output
    assert f"ok   models_root on a node: {project.folder}" in command.output
    assert list(project.work_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"partition": "nosuch"}, "BAD  partition: nosuch\n     mend: set partition to one of: batch"),
        ({"gpus_per_node": 8}, "BAD  GPUs per node: Slurm says 4, the file 8\n     mend: gpus_per_node: 4"),
        ({"models_root": "/nowhere"}, "BAD  models_root on a node: found /nowhere: No such file or directory"),
        ({"python": "/nowhere/python"}, "execve(): /nowhere/python: No such file or directory"),
        ({"container": "pyxis", "image": "a:1"}, "BAD  pyxis: srun has no --container-image"),
        ({"sbatch": ["--nodelist=nosuch"]}, "BAD  sbatch --test-only: "),
    ],
)
def test_what_is_wrong_is_said(project: Project, changes: dict[str, Any], expected: str) -> None:
    project.cluster(**changes)
    command = project.disagg("doctor")
    assert command.end() == 8, command.output
    assert expected in command.output
    assert "1 to mend" in command.output or "partition" in expected


def test_without_slurm(project: Project, tmp_path: Path) -> None:
    command = project.disagg("doctor", env={"PATH": str(tmp_path)})
    assert command.end() == 8, command.output
    assert "BAD  Slurm's commands: sbatch" in command.output
