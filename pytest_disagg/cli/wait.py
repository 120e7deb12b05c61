"""``disagg wait JOB``: attach to jobs that were submitted before, as ``disagg run`` would have gone on."""

from __future__ import annotations

import argparse
import os
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from pytest_disagg.cli.run_page import add_page_option
    from pytest_disagg.cli.slurm import add_cluster_options
    from pytest_disagg.cli.stores import add_history

    parser = subparsers.add_parser(
        "wait",
        help="follow Slurm jobs that were submitted before, to their verdict",
        description="Follow jobs to their end; exit code as disagg run. Ctrl-C leaves them running.",
    )
    parser.add_argument("job", nargs="+", metavar="JOB", help="job id, as disagg run printed it")
    parser.add_argument("--junitxml", type=Path, metavar="FILE", help="junit file of all jobs")
    add_page_option(parser)
    add_history(parser)
    add_cluster_options(parser)
    parser.set_defaults(func=run)


def run(options: argparse.Namespace) -> int:
    """Follow the jobs; the exit code of the worst.

    Raises:
        UsageError: a job that ``disagg run`` did not submit.
    """
    from pytest_disagg.cli.measurement import history_of
    from pytest_disagg.cli.run_page import write_page
    from pytest_disagg.cli.slurm import Screen, cluster_of, jobs_of, print_results, work_dir_of, write_report
    from pytest_disagg.launch.slurm.codes import highest
    from pytest_disagg.launch.slurm.follow import Follower
    from pytest_disagg.records.gpu_hours import GpuHours, total

    cluster = cluster_of(options, os.environ)
    jobs = jobs_of(options.job, work_dir_of(options, cluster, os.environ))
    follower = Follower(jobs, Screen())
    results = follower.run()
    print_results(results)
    played = [*results, *(each for earlier in follower.earlier.values() for each in earlier)]
    if len(played) > 1 and (hours := total(GpuHours.read(result.gpu_hours) for result in played)):
        print(f"\nGPU-hours: {hours}")
    if options.junitxml:
        write_report(options.junitxml, results)
    write_page(results, options.html or os.environ.get("DISAGG_HTML"), history_of(options, cluster, os.environ))
    return highest(results)
