"""A deployment that is left up for debugging, until somebody lets go of it."""

from __future__ import annotations

import contextlib

from pytest_disagg.roles.session import POLL_S, RoleSession
from pytest_disagg.rundir.state import HOLD


def hold(session: RoleSession, address: str) -> None:
    """Keep the deployment until ``release`` appears in the run directory, Ctrl-C, or the run's limit.

    Raises:
        RunError: a role failed meanwhile, or the limit passed.
    """
    session.log(f"kept: the deployment is up at http://{address}; Ctrl-C or `touch {session.rundir.release}` ends it")
    session.progress = f"up at http://{address} until Ctrl-C or `touch {session.rundir.release}`"
    with session.stage(HOLD), contextlib.suppress(KeyboardInterrupt):
        session.publish(progress=session.progress)
        while not session.rundir.release.exists():
            session.check()
            session.monitor.pause(POLL_S)
