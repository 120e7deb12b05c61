"""``disagg cancel JOB``: cancel jobs and wait until they are gone."""

from __future__ import annotations

import argparse
import os


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from pytest_disagg.cli.slurm import add_cluster_options

    parser = subparsers.add_parser("cancel", help="cancel Slurm jobs")
    parser.add_argument("job", nargs="+", metavar="JOB", help="job id, as disagg run printed it")
    add_cluster_options(parser)
    parser.set_defaults(func=run)


def run(options: argparse.Namespace) -> int:
    """Cancel, and show how each job ended; 0 once all are over.

    Raises:
        UsageError: a job that ``disagg run`` did not submit.
    """
    from pytest_disagg.cli.slurm import Screen, cluster_of, jobs_of, print_results, work_dir_of
    from pytest_disagg.launch.slurm.follow import Follower

    cluster = cluster_of(options, os.environ)
    follower = Follower(jobs_of(options.job, work_dir_of(options, cluster, os.environ)), Screen())
    follower.cancel()
    print_results(follower.run())
    return 0
