"""BENCHMARK: waits until the deployment is routable, measures it, judges, stores, and says how the run ended."""

from __future__ import annotations

from pytest_disagg.roles.conclude import conclude
from pytest_disagg.roles.hold import hold
from pytest_disagg.roles.measure import Measurement
from pytest_disagg.roles.options import RunOptions
from pytest_disagg.roles.planning import Planned, write_plan
from pytest_disagg.roles.preparing import HostWatch, await_prepared
from pytest_disagg.roles.sampling import sampled
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.roles.startup import collect_startup
from pytest_disagg.rundir.outcome import Outcome
from pytest_disagg.rundir.watch import ENDED

ROLE = "BENCHMARK"
ASK_TIMEOUT_S = 1.0


def run_benchmark(options: RunOptions) -> Outcome:
    """Play BENCHMARK. Bad endings of the run are in the outcome, not raised.

    Raises:
        RunError: this run is over already (its outcome is not ours to write).
    """
    with RoleSession(options, ROLE) as session:
        measurement = Measurement(session)
        with session.noting_failure():
            _measure(session, measurement)
            if options.keep:
                hold(session, session.monitor.states["DISAGG_SERVER"].address)
        outcome = conclude(measurement, session.failed)
        outcome.write(session.rundir)
        _wait_for_others(session)
        session.rundir.remove_secrets()
        session.failed = outcome.cause
    return outcome


def _measure(session: RoleSession, measurement: Measurement) -> None:
    case = session.case
    with session.stage("plan"):
        write_plan(session)
        measurement.planned = Planned.of(session)
    with session.stage("launch"):
        _wait_for_roles(session)
    await_prepared(session, [role for role in case.roles if role != ROLE])
    host = HostWatch.begin(session)
    with session.stage("ready"):
        url = _wait_until_routable(session)
    servers = {role: f"http://{session.monitor.states[role].address}" for role in case.roles[:-2]}
    collect_startup(session, servers)
    logs = [f"GEN_{i}" for i in range(case.num_gen)]
    measurement.notes += host.conclude()
    with sampled(session):
        measurement.play(url, case.clients, servers=list(servers.values()), spec=None, logs=logs)


def _wait_for_roles(session: RoleSession) -> None:
    others = [role for role in session.case.roles if role != ROLE]

    def look() -> tuple[bool | None, str]:
        missing = [role for role in others if role not in session.monitor.states]
        return (None if missing else True), f"no sign of {', '.join(missing)}"

    session.wait(
        look,
        what=f"{len(others)} roles to start",
        limit_s=session.limits.launch_s,
        key="timeouts.launch_s",
        kind="infrastructure",
    )


def _wait_until_routable(session: RoleSession) -> str:
    """The coordinator's URL, once it reports every server."""
    case, engine = session.case, session.options.engine
    # What the roles took to start is part of launch_s, which is the time until every server has an address.
    launched_s = session.stage_seconds()["launch"]

    def look() -> tuple[str | None, str]:
        state = session.monitor.states["DISAGG_SERVER"]
        if state.state != "ready":
            waiting = [
                f"{role} {other.state}" for role, other in session.monitor.states.items() if other.state != "ready"
            ]
            return None, ", ".join(waiting)
        url = f"http://{state.address}"
        seen = engine.routable(url, ctx=case.num_ctx, gen=case.num_gen, timeout_s=ASK_TIMEOUT_S)
        return (url if seen.ok else None), f"{url}: {seen.seen}"

    return session.wait(
        look,
        what=f"{case.num_ctx} CTX and {case.num_gen} GEN servers to be routable",
        limit_s=max(session.limits.launch_s - launched_s, 0.0) + session.limits.ready_s,
        key=f"timeouts.launch_s + timeouts.ready_s, less the {launched_s:.0f} s that the roles took to start",
        dump_stacks=True,
    )


def _wait_for_others(session: RoleSession) -> None:
    """Every other role has ended, or the stage's limit passed: then it is said, and their starter ends them."""
    gone = {session.monitor.cause.role} if session.monitor.cause else set()

    def running() -> list[str]:
        states = session.monitor.states
        return [role for role, state in states.items() if state.state not in ENDED and role not in gone]

    with session.stage("stop"):
        if not session.wait_quietly(lambda: not running(), limit_s=session.limits.stop_s):
            limit = f"{session.limits.stop_s:g} s (timeouts.stop_s)"
            session.log(f"still running {limit} after the outcome: {', '.join(running())}")
