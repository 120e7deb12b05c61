"""``disagg status [JOB]``: where submitted jobs stand. One call of squeue for all of them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_disagg.launch.slurm.client import JobState
    from pytest_disagg.launch.slurm.follow import Job

SHOWN = 20


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from pytest_disagg.cli.slurm import add_cluster_options

    parser = subparsers.add_parser("status", help="show where submitted Slurm jobs stand")
    parser.add_argument("job", nargs="*", metavar="JOB", help=f"job ids (default: the newest {SHOWN})")
    add_cluster_options(parser)
    parser.set_defaults(func=run)


def run(options: argparse.Namespace) -> int:
    """Print a line for each job: id, Slurm's state, the run's stage or verdict, case.

    Raises:
        UsageError: a job that ``disagg run`` did not submit.
    """
    from pytest_disagg.cli.slurm import cluster_of, jobs_of, work_dir_of
    from pytest_disagg.launch.slurm import client

    work_dir = work_dir_of(options, cluster_of(options, os.environ), os.environ)
    jobs = jobs_of(options.job or _newest(work_dir), work_dir)
    if not jobs:
        print(f"no job in {work_dir}")
        return 0
    states: dict[str, JobState] = {}
    try:
        states = client.queue([job.job_id for job in jobs])
    except client.SlurmError as error:
        print(f"Slurm does not answer: {error}")
    for job in jobs:
        state = states.get(job.job_id)
        print(f"{job.job_id:>8}  {state.state if state else '-':<12}  {_stage(job):<24}  {job.submission.case}")
    return 0


def _newest(work_dir: Path) -> list[str]:
    """The links that submissions leave behind; for people, so the folder may be listed."""
    folder = work_dir / "jobs"
    if not folder.is_dir():
        return []
    links = [path for path in folder.iterdir() if path.name.isdecimal() and path.is_symlink()]
    return [path.name for path in sorted(links, key=lambda path: path.lstat().st_mtime)[-SHOWN:]]


def _stage(job: Job) -> str:
    from pytest_disagg.launch.slurm.result import JobResult
    from pytest_disagg.rundir.files import read_json

    run_id = job.folder.run_id()
    if run_id is None:
        return "not started"
    rundir = job.submission.rundir(run_id)
    result = JobResult.read(rundir.path)
    if result is not None:
        word = result.verdict if result.kind is None else f"{result.verdict} ({result.kind})"
        return f"{word}, quarantined" if result.excused else word
    state = read_json(rundir.role("BENCHMARK"))
    return f"stage {state['stage']}" if state else "starting"
