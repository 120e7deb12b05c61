"""What the sub-commands for Slurm jobs share: the cluster, the work directory, finding a job, showing what happens."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from pytest_disagg.errors import UsageError

if TYPE_CHECKING:
    from pytest_disagg.config.cluster import Cluster
    from pytest_disagg.launch.local import Event
    from pytest_disagg.launch.slurm.follow import Job
    from pytest_disagg.launch.slurm.result import JobResult


def add_cluster_options(parser: argparse.ArgumentParser) -> None:
    """Add what says which cluster is meant and where run directories go."""
    group = parser.add_argument_group("cluster")
    group.add_argument(
        "--cluster",
        type=Path,
        metavar="FILE",
        help="cluster file (DISAGG_CLUSTER, default: ~/.config/pytest-disagg/cluster.yaml where there is one)",
    )
    group.add_argument("--cluster-name", metavar="NAME", help="which cluster of the file (DISAGG_CLUSTER_NAME)")
    group.add_argument(
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="shared by all nodes; run directories go there (DISAGG_WORK_DIR, the cluster's work_dir, ./disagg-runs)",
    )


def cluster_of(options: argparse.Namespace, environ: Mapping[str, str]) -> Cluster:
    """The cluster that the options mean.

    Raises:
        ConfigError, UsageError: see :func:`pytest_disagg.config.cluster.load`.
    """
    from pytest_disagg.config import cluster

    return cluster.load(cluster.find_file(options.cluster, environ), options.cluster_name, environ)


def work_dir_of(options: argparse.Namespace, cluster: Cluster, environ: Mapping[str, str]) -> Path:
    """Where run directories go, absolute."""
    named = options.work_dir or environ.get("DISAGG_WORK_DIR") or cluster.work_dir or "disagg-runs"
    return Path(named).absolute()


def jobs_of(job_ids: Sequence[str], work_dir: Path) -> list[Job]:
    """The jobs with these ids.

    Raises:
        UsageError: an id that is none, or of a job that was not submitted by ``disagg run``.
    """
    from pytest_disagg.launch.slurm.follow import find_job

    found: list[Job] = []
    for job_id in job_ids:
        job = find_job(work_dir, job_id) if job_id.isdecimal() else None
        if job is None:
            raise UsageError(
                f"job {job_id!r}: not found in {work_dir / 'jobs'} (--work-dir), and Slurm does not know it as a "
                "job of `disagg run`"
            )
        found.append(job)
    return found


class Screen:
    """Shows events: lines as they come; progress in place on a terminal, not at all elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._transient = False

    def __call__(self, event: Event) -> None:
        from pytest_disagg.redact import redact

        if event.transient and not self._terminal:
            return
        start = "\r\x1b[K" if self._transient else ""
        self._transient = event.transient
        print(start + redact(event.text), end="" if event.transient else "\n", flush=True)


def print_results(results: Sequence[JobResult]) -> None:
    """One block for each case: verdict, why, where things lie."""
    from pytest_disagg.records.gpu_hours import GpuHours
    from pytest_disagg.redact import redact

    for result in results:
        print(f"\n{result.case}: {'cancelled' if result.cancelled else result.verdict} (job {result.job_id})")
        if result.quarantine:
            print(f"  {redact(result.quarantine)}")
        for line in (*result.red, *(result.lines if not result.red else ())):
            print(f"  {redact(line)}")
        if hours := GpuHours.read(result.gpu_hours):
            print(f"  GPU-hours: {hours}")
        if result.run_dir:
            print(f"  run directory: {result.run_dir}")


def write_report(path: Path, results: Sequence[JobResult]) -> None:
    """One junit file of all results."""
    from pytest_disagg.launch.slurm.junit import merge

    path.parent.mkdir(parents=True, exist_ok=True)
    merge(path, [Path(result.junit) for result in results])


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """While inside, the first SIGTERM acts as Ctrl-C. Later ones do nothing, to the end of this process.

    A CI system that aborts a build sends it to every process of the build, and a script of it may pass it on: the
    second one is no wish to leave at once. Can be entered again inside.
    """
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is _interrupt:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
