"""DISAGG_SERVER: the coordinator in front of all CTX and GEN servers."""

from __future__ import annotations

from pytest_disagg.roles.options import RunOptions
from pytest_disagg.roles.requests import coordinator_request
from pytest_disagg.roles.serving import bring_up, serve_until_outcome
from pytest_disagg.roles.session import RoleSession

ROLE = "DISAGG_SERVER"


def run_coordinator(options: RunOptions) -> None:
    """Play the coordinator until the run is over.

    Raises:
        RunError: the coordinator or another role failed.
    """
    case = options.case
    with RoleSession(options, ROLE) as session:
        with session.stage("launch"):
            gen = [f"GEN_{i}" for i in range(case.num_gen)]
            ctx = [f"CTX_{i}" for i in range(case.num_ctx)]
            addresses = wait_for_addresses(session, [*gen, *ctx])
        rundir = session.rundir
        request = coordinator_request(
            session, ROLE, ctx=[addresses[role] for role in ctx], gen=[addresses[role] for role in gen]
        )
        rundir.link_legacy_log(ROLE)
        launch = options.engine.coordinator(request)
        address = bring_up(session, "coordinator", launch, rundir.log(ROLE), dict(case.coordinator_env))
        serve_until_outcome(session, address)


def wait_for_addresses(session: RoleSession, roles: list[str]) -> dict[str, str]:
    """Wait until each named role is ready; its published address by role."""

    def look() -> tuple[dict[str, str] | None, str]:
        states = session.monitor.states
        found = {role: states[role].address for role in roles if role in states and states[role].state == "ready"}
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
