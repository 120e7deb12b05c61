"""Aggregated and ctx_only cases: one process plays all, server after server, client after client."""

from __future__ import annotations

from pytest_disagg.config.case import ServerSpec
from pytest_disagg.roles.benchmark import ROLE
from pytest_disagg.roles.conclude import conclude
from pytest_disagg.roles.hold import hold
from pytest_disagg.roles.measure import Measurement
from pytest_disagg.roles.options import RunOptions
from pytest_disagg.roles.prepare import Prepared, write_plan
from pytest_disagg.roles.requests import server_request
from pytest_disagg.roles.serving import bring_up
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.roles.startup import collect_startup
from pytest_disagg.rundir.outcome import Outcome


def run_alone(options: RunOptions) -> Outcome:
    """Deploy each aggregated server in turn and run its clients; what was measured before a failure is kept.

    Raises:
        RunError: this run is over already (its outcome is not ours to write).
    """
    with RoleSession(options, ROLE) as session:
        measurement = Measurement(session)
        with session.noting_failure():
            with session.stage("plan"):
                write_plan(session)
                measurement.prepared = Prepared.of(session)
            for index, spec in enumerate(options.case.servers):
                address = start_server(session, spec, index)
                loads = spec.clients or options.case.clients
                url = f"http://{address}"
                measurement.play(url, loads, servers=[url], spec=spec, logs=[f"SERVER_{index}"])
                last = index == len(options.case.servers) - 1
                if options.keep and last:
                    hold(session, address)
                session.stop_servers()
        outcome = conclude(measurement, session.failed)
        outcome.write(session.rundir)
        with session.stage("stop"):
            session.stop_servers()
        session.rundir.remove_secrets()
    return outcome


def start_server(session: RoleSession, spec: ServerSpec, index: int) -> str:
    """Bring up aggregated server ``index``; returns ``host:port``."""
    role = f"SERVER_{index}"
    launch = session.options.engine.server(server_request(session, spec, role, index))
    log = session.rundir.log(role)
    address = bring_up(session, f"server {index} ({spec.name})", launch, log, dict(spec.env))
    collect_startup(session, {role: f"http://{address}"}, index)
    return address
