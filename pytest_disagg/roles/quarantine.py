"""What quarantine says of a run: of its case, and of the nodes that it is played on."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pytest_disagg.errors import UsageError
from pytest_disagg.records.manifest import slurm_facts
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.rundir.writer import node_name
from pytest_disagg.topology.hosts import expand
from pytest_disagg.verdict.quarantine import Standing, cluster_names


def standing_of(session: RoleSession) -> Standing:
    """As far as is known by now: a node counts once its role, or Slurm, has named it."""
    options, case = session.options, session.case
    clusters = cluster_names(os.environ)
    return options.quarantines.standing(case.id.text, clusters, set(_nodes(session)), rehearsal=case.rehearsal)


def _nodes(session: RoleSession) -> Iterator[str]:
    yield node_name()
    yield from (state.node for state in session.monitor.states.values() if state.node)
    try:
        yield from expand(slurm_facts(os.environ)["SLURM_JOB_NODELIST"])
    except (KeyError, UsageError):
        return
