"""An aggregated deployment that is only brought up."""

from __future__ import annotations

import dataclasses

from pytest_disagg.roles.alone import start_server
from pytest_disagg.roles.benchmark import ROLE
from pytest_disagg.roles.hold import hold
from pytest_disagg.roles.options import RunOptions
from pytest_disagg.roles.services import scratch, start_services
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.rundir.outcome import Outcome


def up_alone(options: RunOptions) -> Outcome:
    """Bring up the first server of the case and keep it until Ctrl-C or the case's limit."""
    with scratch(options) as folder, RoleSession(options, ROLE) as session:
        with session.noting_failure():
            services = start_services(session, folder)
            hold(session, start_server(session, options.case.servers[0], 0, services))
        outcome = Outcome(options.run_id, options.case.id.text, "released")
        if session.failed is not None:
            cause = session.failed
            outcome = dataclasses.replace(
                outcome, verdict="failed", kind=cause.kind, cause=cause, red=(cause.headline(),)
            )
        outcome.write(session.rundir)
    return outcome
