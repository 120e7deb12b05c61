"""Aggregated and ctx_only cases: one process plays all, server after server, client after client."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_disagg.config.case import ServerSpec
from pytest_disagg.roles.benchmark import ROLE
from pytest_disagg.roles.conclude import conclude
from pytest_disagg.roles.coordinator import start_coordinator
from pytest_disagg.roles.hold import hold
from pytest_disagg.roles.measure import Measurement
from pytest_disagg.roles.nodes import first_place, lead, node_roles, server_done
from pytest_disagg.roles.options import RunOptions
from pytest_disagg.roles.planning import Planned, write_plan
from pytest_disagg.roles.preparing import HostWatch, prepare
from pytest_disagg.roles.requests import Published, server_request
from pytest_disagg.roles.sampling import sampled
from pytest_disagg.roles.services import scratch, start_services
from pytest_disagg.roles.serving import bring_up
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.roles.startup import collect_startup
from pytest_disagg.rundir.outcome import Outcome


def run_alone(options: RunOptions) -> Outcome:
    """Deploy each aggregated server in turn and run its clients; what was measured before a failure is kept.

    Raises:
        RunError: this run is over already (its outcome is not ours to write).
    """
    followers = node_roles(options.case, options.engine, ROLE)
    with scratch(options) as folder, RoleSession(options, ROLE, followers) as session:
        measurement = Measurement(session)
        with session.noting_failure():
            with session.stage("plan"):
                write_plan(session)
                measurement.planned = Planned.of(session)
            services = start_services(session, folder)
            for index, spec in enumerate(options.case.servers):
                host = HostWatch.begin(session)
                address = start_server(session, spec, index, services)
                measurement.notes += host.conclude()
                loads = spec.clients or options.case.clients
                url = f"http://{address}"
                with sampled(session, f"SERVER_{index}"):
                    measurement.play(url, loads, servers=[url], spec=spec, logs=[f"SERVER_{index}"])
                last = index == len(options.case.servers) - 1
                if options.keep and last:
                    hold(session, address)
                server_done(session, index)
                session.stop_servers(keep=len(services))
        outcome = conclude(measurement, session.failed)
        outcome.write(session.rundir)
        with session.stage("stop"):
            session.stop_servers()
        session.rundir.remove_secrets()
    return outcome


def start_server(session: RoleSession, spec: ServerSpec, index: int, services: Mapping[str, str]) -> str:
    """Bring up aggregated server ``index``, and the coordinator where the engine wants one; who takes the load."""
    role, engine = f"SERVER_{index}", session.options.engine
    prepare(session, spec)
    at = first_place(session, role, spec, services)
    launch = engine.server(server_request(session, spec, role, index, at))
    lead(session, at, launch, index)
    log = session.rundir.log(role)
    address = bring_up(session, f"server {index} ({spec.name})", launch, log, dict(spec.env))
    collect_startup(session, {role: f"http://{address}"}, index)
    if engine.fronts_aggregated(session.case):
        return start_coordinator(session, ctx=(), gen=[Published(address, launch.facts)], services=services)
    return address
