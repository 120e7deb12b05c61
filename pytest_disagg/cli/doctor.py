"""``disagg doctor``: is the cluster as the cluster file says, and can jobs run there."""

from __future__ import annotations

import argparse
import os


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from pytest_disagg.cli.slurm import add_cluster_options

    parser = subparsers.add_parser(
        "doctor",
        help="check the cluster file against the cluster, and say what to mend",
        description="Check Slurm's commands, partition, account, GPUs, and with one task on a node work directory, "
        "Python and paths. Exit code 8 where something has to be mended.",
    )
    parser.add_argument("--no-node", action="store_true", help="start no task on a node")
    add_cluster_options(parser)
    parser.set_defaults(func=run)


def run(options: argparse.Namespace) -> int:
    """Print each check as it is made; 0 when all are ok, else 8.

    Raises:
        ConfigError, UsageError: the cluster file cannot be used.
    """
    from pytest_disagg.cli.main import EXIT_BY_KIND, EXIT_OK
    from pytest_disagg.cli.slurm import cluster_of, work_dir_of
    from pytest_disagg.launch.slurm.doctor import examine
    from pytest_disagg.redact import redact

    cluster = cluster_of(options, os.environ)
    print(f"cluster {cluster.name or '(no cluster file)'}")
    bad = 0
    for check in examine(cluster, work_dir_of(options, cluster, os.environ), on_node=not options.no_node):
        print(redact(str(check)), flush=True)
        bad += not check.ok
    print(f"{bad} to mend" if bad else "all is well")
    return EXIT_BY_KIND["infrastructure"] if bad else EXIT_OK
