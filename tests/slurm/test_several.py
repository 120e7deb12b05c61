"""Several runs: at the same time, one after the other in one allocation, many jobs of one command."""

from __future__ import annotations

import itertools
import json
import re
import stat
from pathlib import Path

from pytest_disagg.rundir.layout import RunDir
from tests.slurm.jobs import CASE, CASE_ID, Job, Project
from tests.slurm.test_lists import alone, merged

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


def test_twenty_jobs_of_one_list_are_one_squeue_call_a_poll(project: Project) -> None:
    names = [f"case{i:02}" for i in range(20)]
    for name in names:
        alone(project, name)
    (project.folder / "list.txt").write_text("\n".join(names))
    env, calls = counted(project, "squeue")
    command = project.disagg("run", "--test-list=list.txt", "--config-dir=cases", "--junitxml=all.xml", env=env)
    assert command.end() == 0, command.output
    ids = re.findall(r": job (\d+), ", command.output)
    assert len(ids) == len(names)
    asked = [line.partition("--jobs=")[2].split()[0].split(",") for line in calls.read_text().splitlines()]
    open_jobs = [set(jobs) for jobs in asked]
    assert [len(jobs) for jobs in asked] == [len(jobs) for jobs in open_jobs]
    # Each call names every job that was open: all of them once all are submitted, from then on ever fewer.
    last = next(i for i, jobs in enumerate(open_jobs) if ids[-1] in jobs)
    assert len(open_jobs[last]) > 1
    assert all(later <= earlier for earlier, later in itertools.pairwise(open_jobs[last:]))
    assert list(merged(project)) == [f"test_e2e[aggr-{name}]" for name in names]
