"""Several runs: at the same time, one after the other in one allocation, many jobs of one command."""

from __future__ import annotations

import itertools
import json
import stat
from pathlib import Path

from pytest_disagg.rundir.layout import RunDir
from tests.slurm.jobs import CASE, CASE_ID, Job, Project

SMALL = {"gpus_per_node": 2, "num_ctx_servers": 1, "num_gen_servers": 1, "share_nodes": True}
ONE_GPU = {kind: {**block, "tensor_parallel_size": 1} for kind, block in CASE["worker_config"].items()}


def counted(project: Project, program: str) -> tuple[dict[str, str], Path]:
    """An environment in which every call of ``program`` is noted in a file before it happens."""
    folder = project.folder / "counting"
    folder.mkdir()
    calls = project.folder / f"{program}.calls"
    script = folder / program
    script.write_text(f'#!/bin/sh\necho "$@" >>"{calls}"\nexec /usr/bin/{program} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{folder}:{project.env['PATH']}"}, calls


def test_two_runs_of_one_case_at_the_same_time_do_not_meet(project: Project) -> None:
    project.case("job", hardware=SMALL, worker_config=ONE_GPU)
    commands = [project.run("--junitxml", f"{i}.xml") for i in range(2)]
    jobs = [Job(project, command, project.job_id(command)) for command in commands]
    for job in jobs:
        assert job.end() == 0, job.said()
    assert {job.outcome()["run_id"] for job in jobs} == {f"{job.job_id}.0" for job in jobs}
    for job in jobs:
        job.assert_nothing_left()


def test_one_after_the_other_in_one_allocation_do_not_meet(project: Project) -> None:
    project.case("job", hardware=SMALL, worker_config=ONE_GPU)
    project.cluster(sbatch=["--hold"])
    held = project.run("--no-wait")
    assert held.end() == 0, held.output
    project.slurm.call("scancel", project.job_id(held))
    (script,) = project.work_dir.glob("jobs/2*-*/job.sh")
    allocated = project.start(
        *("salloc", "--nodes=1", "--ntasks-per-node=4", "--gres=gpu:2", "bash", "-c"),
        f"bash '{script}' && bash '{script}'",
    )
    assert allocated.end() == 0, allocated.output
    runs = [path for path in project.work_dir.iterdir() if path.name != "jobs"]
    names = sorted(path.name for path in runs)
    assert names == [names[0], f"{names[0]}-2"]
    outcomes = [json.loads(RunDir(path / CASE_ID).outcome.read_text()) for path in runs]
    assert {outcome["verdict"] for outcome in outcomes} == {"insufficient-history"}


def test_many_jobs_of_one_command_are_one_squeue_call_a_poll(project: Project) -> None:
    names = [f"case{i}" for i in range(4)]
    for name in names:
        project.case(name, hardware=SMALL, worker_config=ONE_GPU, cases=CASE["cases"])
    env, calls = counted(project, "squeue")
    command = project.disagg(
        "run", *(f"cases/{name}.yaml" for name in names), "--config-dir=cases", "--junitxml=all.xml", env=env
    )
    ids = [project.job_id(command, i) for i in range(len(names))]
    assert command.end() == 0, command.output
    polls = [line for line in calls.read_text().splitlines() if "--states=all" in line]
    assert f"--jobs={','.join(ids)}" in polls[0]
    # Each call names exactly the jobs that were open: the list only ever shrinks, and no job is asked for twice.
    asked = [set(line.partition("--jobs=")[2].split()[0].split(",")) for line in polls]
    assert all(later <= earlier for earlier, later in itertools.pairwise(asked))
    assert (project.folder / "all.xml").read_text().count("<testcase ") == len(names)
