"""CTX_<i> and GEN_<i>: one server each."""

from __future__ import annotations

from pytest_disagg.config.case import ServerKind
from pytest_disagg.errors import UsageError
from pytest_disagg.roles.coordinator import ROLE as COORDINATOR
from pytest_disagg.roles.nodes import first_place, lead, node_roles
from pytest_disagg.roles.options import RunOptions
from pytest_disagg.roles.preparing import prepare
from pytest_disagg.roles.requests import server_request
from pytest_disagg.roles.services import wait_for_services
from pytest_disagg.roles.serving import bring_up, serve_until_outcome
from pytest_disagg.roles.session import RoleSession


def run_worker(options: RunOptions, role: str) -> None:
    """Play ``GEN_<i>`` or ``CTX_<i>`` until the run is over.

    Raises:
        RunError: this server or another role failed.
        UsageError: the case has no such server.
    """
    kind: ServerKind = "gen" if role.startswith("GEN_") else "ctx"
    index = int(role.partition("_")[2])
    spec = options.case.server(kind)
    if spec is None or index >= spec.count:
        raise UsageError(f"{role}: case {options.case.id.text} has {spec.count if spec else 0} {kind.upper()} servers")
    nodes = node_roles(options.case, options.engine, role)
    others = [other for other in (*options.case.roles, *nodes) if other != role]
    with RoleSession(options, role, others) as session:
        rundir = session.rundir
        rundir.link_legacy_log(role)
        prepare(session, spec)
        at = first_place(session, role, spec, wait_for_services(session, COORDINATOR))
        launch = options.engine.server(server_request(session, spec, role, index, at))
        session.publish_facts(launch.facts)
        lead(session, at, launch)
        address = bring_up(session, f"{kind.upper()} server {index}", launch, rundir.log(role), dict(spec.env))
        serve_until_outcome(session, address)
