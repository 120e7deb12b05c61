"""What quarantine says of a job whose BENCHMARK cannot say it any more."""

from __future__ import annotations

import os
from pathlib import Path

from pytest_disagg.errors import ConfigError, UsageError
from pytest_disagg.launch.slurm.submission import Submission
from pytest_disagg.topology.hosts import expand
from pytest_disagg.verdict.quarantine import Quarantines, Standing, cluster_names, load


def standing_of(submission: Submission, nodes: str) -> Standing:
    """By the file as it is now; ``nodes`` is Slurm's list of those that the job had, empty where it had none.

    A file that cannot be read excuses nothing, and is said.
    """
    if not submission.quarantine:
        return Standing()
    try:
        entries = load(Path(submission.quarantine))
    except ConfigError as error:
        return Standing(lines=tuple(str(problem) for problem in error.problems))
    try:
        played = expand(nodes)
    except UsageError:
        played = []
    clusters = {submission.cluster, *cluster_names(os.environ)} - {""}
    return Quarantines(entries).standing(submission.case, clusters, played, rehearsal=False)
