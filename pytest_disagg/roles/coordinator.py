"""DISAGG_SERVER: the coordinator in front of all CTX and GEN servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_disagg.roles.options import RunOptions
from pytest_disagg.roles.preparing import await_prepared, prepare
from pytest_disagg.roles.requests import Published, coordinator_request
from pytest_disagg.roles.services import scratch, start_services
from pytest_disagg.roles.serving import bring_up, serve_until_outcome
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.rundir.watch import ENDED

ROLE = "DISAGG_SERVER"


def run_coordinator(options: RunOptions) -> None:
    """Play the coordinator until the run is over.

    Raises:
        RunError: the coordinator or another role failed.
    """
    case = options.case
    gen = [f"GEN_{i}" for i in range(case.num_gen)]
    ctx = [f"CTX_{i}" for i in range(case.num_ctx)]
    with scratch(options) as folder, RoleSession(options, ROLE) as session:
        services = start_services(session, folder)
        prepare(session, None)
        await_prepared(session, [*gen, *ctx])
        with session.stage("launch"):
            servers = wait_for_servers(session, [*gen, *ctx])
        session.rundir.link_legacy_log(ROLE)
        address = start_coordinator(
            session, ctx=[servers[role] for role in ctx], gen=[servers[role] for role in gen], services=services
        )
        serve_until_outcome(session, address)
        if services:
            # Servers that end without what they registered with may take all of their grace for it.
            session.wait_quietly(lambda: _all_ended(session, [*gen, *ctx]), limit_s=session.limits.grace_s)


def start_coordinator(
    session: RoleSession, *, ctx: Sequence[Published], gen: Sequence[Published], services: Mapping[str, str]
) -> str:
    """Bring the coordinator up in front of these servers; its ``host:port``."""
    request = coordinator_request(session, ROLE, ctx=ctx, gen=gen, services=services)
    launch = session.options.engine.coordinator(request)
    return bring_up(session, "coordinator", launch, session.rundir.log(ROLE), dict(session.case.coordinator_env))


def wait_for_servers(session: RoleSession, roles: list[str]) -> dict[str, Published]:
    """Wait until each named role is ready; what it published, by role."""

    def look() -> tuple[dict[str, Published] | None, str]:
        states = session.monitor.states
        ready = {role: states[role] for role in roles if role in states and states[role].state == "ready"}
        found = {role: Published(state.address, state.facts) for role, state in ready.items()}
        missing = [
            f"{role} {states[role].state if role in states else 'not started'}" for role in roles if role not in found
        ]
        return (found if not missing else None), ", ".join(missing)

    return session.wait(
        look,
        what=f"{len(roles)} servers to be ready",
        limit_s=session.limits.launch_s + session.limits.ready_s,
        key="timeouts.launch_s + timeouts.ready_s",
        kind="infrastructure",
    )


def _all_ended(session: RoleSession, roles: Sequence[str]) -> bool:
    return all(session.monitor.states[role].state in ENDED for role in roles)
