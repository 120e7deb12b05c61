"""What an engine needs before any of its servers starts (etcd, NATS): started beside the coordinator, found by all."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pytest_disagg.roles.children import ServerProcess
from pytest_disagg.roles.options import RunOptions
from pytest_disagg.roles.requests import service_request
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.rundir.layout import safe_name

FACT = "service."
"""Before the name of a service in its owner's facts."""
ASK_TIMEOUT_S = 1.0


def scratch(options: RunOptions) -> contextlib.AbstractContextManager[str]:
    """A folder of this node for the state of services: a shared file system would be asked to sync every write.

    Without services there is none. Its name is what finds it where nobody was left to remove it.
    """
    if not options.engine.services(options.case):
        return contextlib.nullcontext("")
    prefix = f"disagg-services-{safe_name(options.run_id)}-"
    return tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)


def start_services(session: RoleSession, folder: str) -> dict[str, str]:
    """Start each service that the case's engine names, wait until it answers, publish it; ``host:port`` by name.

    What ends a service is no fault of the servers: ``infrastructure``.

    Raises:
        RunError: a service ended, reported no address, or did not answer within ``timeouts.launch_s``.
    """
    found: dict[str, str] = {}
    engine, case = session.options.engine, session.case
    for name in engine.services(case):
        data_dir = Path(folder) / name
        data_dir.mkdir(mode=0o700)
        launch = engine.service(service_request(session, name, data_dir))
        log, grace_s = session.rundir.log(name), session.limits.grace_s
        server = ServerProcess(name, launch, log, grace_s=grace_s, env={}, kind="infrastructure")
        with session.stage("launch"):
            session.start(server)
            found[name] = _wait_until_it_answers(session, server)
        session.log(f"{name}: answers at {found[name]}, log {server.log}")
    session.publish_facts({f"{FACT}{name}": address for name, address in found.items()})
    return found


def wait_for_services(session: RoleSession, owner: str) -> dict[str, str]:
    """The services of this run, once ``owner``, the role that starts them, has published them; ``host:port`` by name.

    Raises:
        RunError: they did not come: longer than their owner may take, so that its own words come first.
    """
    names = session.options.engine.services(session.case)
    if not names:
        return {}

    def look() -> tuple[dict[str, str] | None, str]:
        state = session.monitor.states.get(owner)
        facts: Mapping[str, str] = {} if state is None else state.facts
        found = {name: facts[f"{FACT}{name}"] for name in names if f"{FACT}{name}" in facts}
        said = "not started" if state is None else f"{state.state}, {', '.join(found) or 'none of them'}"
        return (found if len(found) == len(names) else None), f"{owner} {said}"

    with session.stage("launch"):
        return session.wait(
            look,
            what=f"{', '.join(names)}, which {owner} starts",
            limit_s=session.limits.launch_s + session.limits.ready_s,
            key="timeouts.launch_s + timeouts.ready_s",
            kind="infrastructure",
        )


def _wait_until_it_answers(session: RoleSession, server: ServerProcess) -> str:
    engine = session.options.engine

    def look() -> tuple[str | None, str]:
        address, seen = server.address()
        if address is None:
            return None, seen
        answer = engine.service_healthy(server.name, address, ASK_TIMEOUT_S)
        return (address if answer.ok else None), answer.seen

    return session.wait(
        look,
        what=f"{server.name} to answer",
        limit_s=session.limits.launch_s,
        key="timeouts.launch_s",
        kind="infrastructure",
    )
