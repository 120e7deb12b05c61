"""Measure a deployment that somebody else runs, through the same loads, gate and records."""

from __future__ import annotations

from pytest_disagg.roles.benchmark import ROLE
from pytest_disagg.roles.conclude import conclude
from pytest_disagg.roles.measure import Measurement
from pytest_disagg.roles.options import RunOptions
from pytest_disagg.roles.planning import Planned, write_plan
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.rundir.outcome import Outcome


def run_bench(options: RunOptions, url: str) -> Outcome:
    """Run the loads of the case on ``url`` (``http[s]://host:port``); nothing is started or stopped.

    Raises:
        RunError: this run is over already.
    """
    with RoleSession(options, ROLE, others=()) as session:
        measurement = Measurement(session, deployed=False)
        with session.noting_failure():
            with session.stage("plan"):
                write_plan(session)
                measurement.planned = Planned.of(session)
            for spec in options.case.servers if options.case.id.runtime == "alone" else (None,):
                loads = (spec.clients if spec else ()) or options.case.clients
                measurement.play(url, loads, servers=[url], spec=spec, logs=[])
        outcome = conclude(measurement, session.failed)
        outcome.write(session.rundir)
    return outcome
