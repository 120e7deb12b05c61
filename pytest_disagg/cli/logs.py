"""``disagg logs JOB``: the end of a job's logs, or one of them as it grows."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_disagg.errors import UsageError

if TYPE_CHECKING:
    from pytest_disagg.launch.slurm.follow import Job

LOOK_S = 0.25


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from pytest_disagg.cli.slurm import add_cluster_options

    parser = subparsers.add_parser("logs", help="show or follow the logs of a Slurm job")
    parser.add_argument("job", metavar="JOB", help="job id, as disagg run printed it")
    parser.add_argument(
        "--role", metavar="ROLE", help="only this role's logs, e.g. GEN_0 (default: the job's own log too)"
    )
    parser.add_argument("--lines", type=int, default=20, metavar="N", help="lines of each log (default: 20)")
    parser.add_argument("--follow", "-f", action="store_true", help="go on printing until the run has its outcome")
    add_cluster_options(parser)
    parser.set_defaults(func=run)


def run(options: argparse.Namespace) -> int:
    """Print the logs.

    Raises:
        UsageError: a job that ``disagg run`` did not submit, or a role it does not have.
    """
    from pytest_disagg.cli.slurm import cluster_of, jobs_of, work_dir_of
    from pytest_disagg.rundir.files import tail_lines

    work_dir = work_dir_of(options, cluster_of(options, os.environ), os.environ)
    (job,) = jobs_of([options.job], work_dir)
    if options.role and options.role not in job.submission.roles:
        raise UsageError(f"--role: found {options.role!r}, expected one of {', '.join(job.submission.roles)}")
    paths = _paths(job, options.role)
    for path in paths:
        print(f"==> {path}")
        for line in tail_lines(path, options.lines):
            print(line)
    if options.follow:
        _follow(job, paths)
    return 0


def _paths(job: Job, role: str | None) -> list[Path]:
    paths = [] if role else [job.folder.log(job.job_id)]
    run_id = job.folder.run_id()
    if run_id is None:
        return paths
    rundir = job.submission.rundir(run_id)
    if not role:
        paths += [rundir.path / "image.log", rundir.path / "install.log"]
    for each in [role] if role else job.submission.roles:
        paths += [rundir.pytest_log(each), rundir.log(each)]
    return [path for path in paths if path.exists()]


def _follow(job: Job, paths: list[Path]) -> None:
    from pytest_disagg.redact import redact
    from pytest_disagg.rundir.files import read_json

    sizes = {path: path.stat().st_size for path in paths}
    shown: Path | None = None
    while True:
        run_id = job.folder.run_id()
        over = run_id is not None and read_json(job.submission.rundir(run_id).outcome) is not None
        for path in paths:
            with path.open("rb") as file:
                file.seek(min(sizes[path], path.stat().st_size))
                text = file.read()
                sizes[path] = file.tell()
            if text:
                if shown != path:
                    print(f"==> {path}")
                    shown = path
                print(redact(text.decode(errors="replace")), end="", flush=True)
        if over:
            return
        time.sleep(LOOK_S)
