"""What CTX, GEN and the coordinator share: bring one process up, publish it, keep it until the run has an outcome."""

from __future__ import annotations

from pathlib import Path

from pytest_disagg.engines.protocol import Launch
from pytest_disagg.errors import RunError
from pytest_disagg.redact import redact
from pytest_disagg.roles.causes import because
from pytest_disagg.roles.children import ServerProcess
from pytest_disagg.roles.sampling import sampled
from pytest_disagg.roles.session import POLL_S, RoleSession
from pytest_disagg.rundir.files import write_text
from pytest_disagg.rundir.outcome import Outcome

HEALTH_TIMEOUT_S = 1.0


def bring_up(session: RoleSession, name: str, launch: Launch, log: Path, env: dict[str, str]) -> str:
    """Start ``launch``, wait for its address and its health; returns ``host:port``."""
    server = ServerProcess(name, launch, log, grace_s=session.limits.grace_s, env=env)
    with session.stage("launch"):
        session.start(server)
        _show_secret_files(session, launch)
        session.log(f"{name}: pid {server.child.pid if server.child else 0}, log {log}")
        address = session.wait(
            server.address,
            what=f"the address of its {name}",
            limit_s=session.limits.launch_s,
            key="timeouts.launch_s",
        )
    with session.stage("ready"):
        wait_healthy(session, name, address)
    session.log(f"{name}: healthy at {address}")
    return address


def _show_secret_files(session: RoleSession, launch: Launch) -> None:
    """Leave a redacted copy of each file that goes when the run stops, for whoever asks later what was started."""
    for path, text in launch.files.items():
        if session.rundir.secrets in path.parents:
            copy = session.rundir.config(path.parent.name) / path.name
            copy.parent.mkdir(exist_ok=True)
            write_text(copy, redact(text))


def wait_healthy(session: RoleSession, name: str, address: str) -> None:
    def look() -> tuple[bool | None, str]:
        seen = session.options.engine.healthy(f"http://{address}", HEALTH_TIMEOUT_S)
        return (True if seen.ok else None), f"{address}: {seen.seen}"

    session.wait(
        look,
        what=f"its {name} to be healthy",
        limit_s=session.limits.ready_s,
        key="timeouts.ready_s",
        dump_stacks=True,
    )


def serve_until_outcome(session: RoleSession, address: str) -> None:
    """Publish ``ready`` and stay until BENCHMARK has written the outcome.

    Raises:
        RunError: an own process or another role failed, or the outcome is a failure that makes every role red.
    """
    session.publish(state="ready", address=address)
    session.stage_name = "serve"
    with sampled(session):
        while session.monitor.outcome is None:
            session.check()
            session.monitor.pause(POLL_S)
    outcome = Outcome.from_dict(session.monitor.outcome)
    session.log(f"outcome: {outcome.verdict}{f' ({outcome.kind})' if outcome.kind else ''}")
    if outcome.kind in ("infrastructure", "functional") and outcome.cause is not None:
        if outcome.cause.dump_stacks:
            session.dump_stacks()
        raise because(outcome.cause)
    if outcome.kind in ("infrastructure", "functional"):
        raise RunError("; ".join(outcome.red), kind=outcome.kind, stage="gate", because_of="BENCHMARK")  # type: ignore[arg-type]
