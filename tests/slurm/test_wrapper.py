"""`slurm_run` as srun starts it: on two nodes and on one, every rank or the leader alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.jobs import Project

TASKS = 4
PROGRAM = """\
import json, os, pathlib, sys
ready = len(list(pathlib.Path(os.environ["DISAGG_RUN_DIR"]).glob("run_ready_*/rank_*.json")))
said = {"ready": ready, "env": dict(os.environ)}
pathlib.Path(sys.argv[1], os.environ["SLURM_PROCID"]).write_text(json.dumps(said))
sys.exit(int(sys.argv[2]))
"""
# The last rank comes when all the others have said that they are ready.
LATE = """\
if [ "$SLURM_PROCID" = 3 ]; then
    until set -- "$DISAGG_RUN_DIR"/run_ready_*/rank_[012].json && [ "$#" = 3 ]; do sleep 0.05; done
fi
exec "$PYTHON" -m pytest_disagg.wrapper.slurm_run
"""


def step(project: Project, role: str, *, nodes: int = 2, exit_code: int = 0, **env: str) -> dict[int, dict[str, Any]]:
    """Play a step of four tasks that ends with ``exit_code``; what the command said, by rank."""
    said = project.folder / "said"
    said.mkdir()
    (project.folder / "program.py").write_text(PROGRAM)
    variables = {
        "DISAGG_SERVING_TYPE": role,
        "DISAGG_RUN_DIR": str(project.folder / "run"),
        "DISAGG_RUN_ID": "",
        "PMIX_RANK": "0",
        "PYTHON": sys.executable,
        "pytestCommand": f"'{sys.executable}' '{project.folder}/program.py' '{said}' {exit_code}",
    }
    command = project.start("srun", f"-N{nodes}", f"-n{TASKS}", "sh", "-c", LATE, env={**variables, **env})
    assert command.end() == exit_code, command.output
    return {int(path.name): json.loads(path.read_text()) for path in said.iterdir()}


def exits(project: Project, role: str) -> list[int]:
    folder = project.folder / "run" / "roles"
    paths = [folder / f"{role}.exit.json", *(folder / f"{role}.{rank}.exit.json" for rank in range(1, TASKS))]
    return [json.loads(path.read_text())["exit_code"] for path in paths]


@pytest.mark.parametrize(
    ("role", "nodes", "cleared"),
    [("GEN_0", 2, False), ("GEN_0", 1, True), ("DISAGG_SERVER", 2, True), ("BENCHMARK", 2, True)],
)
def test_every_rank_meets_the_others_in_the_right_environment(
    project: Project, role: str, nodes: int, cleared: bool
) -> None:
    said = step(project, role, nodes=nodes)
    assert sorted(said) == list(range(TASKS))
    assert {each["ready"] for each in said.values()} == {TASKS}
    for rank, each in said.items():
        env = each["env"]
        left = {name for name in env if name.startswith(("SLURM", "PMI", "MPI", "OMPI"))} - {"PMIX_MCA_gds"}
        assert env["SLURM_PROCID"] == str(rank)
        assert (left == {"SLURM_PROCID"}) == cleared, sorted(left)
        assert env["DISAGG_RUN_ID"].endswith(".0")
        if cleared:
            assert env["DISAGG_SLURM_NTASKS"] == str(TASKS)
        else:
            assert {"SLURM_JOB_ID", "SLURM_NTASKS", "PMIX_RANK"} <= left
    assert exits(project, role) == [0] * TASKS


def test_ranks_beside_their_leader_end_as_it_does(project: Project) -> None:
    said = step(project, "GEN_0", exit_code=7, DISAGG_RANKS="leader")
    assert list(said) == [0]
    assert exits(project, "GEN_0") == [7] * TASKS
    nodes = {
        json.loads(path.read_text())["node"] for path in Path(project.folder, "run/roles").glob("GEN_0.[0-3].json")
    }
    assert nodes == {"n1", "n2"}
