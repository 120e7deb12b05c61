"""What a role samples while its deployment serves."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_disagg.engines import http
from pytest_disagg.roles.children import ServerProcess
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.rundir.writer import node_name

if TYPE_CHECKING:
    from pytest_disagg.telemetry.recorder import Sampler

CLIENT, COORDINATOR, SERVER = "client", "coordinator", "server"
ASK_TIMEOUT_S = 1.0


@contextmanager
def sampled(session: RoleSession, name: str = "", *, metrics: bool = True) -> Iterator[None]:
    """Sample inside, where the case has it; in a thread, and nothing that fails there is the run's failure.

    ``name`` tells several servers of one role apart. ``metrics`` is false where the role's process is a part of a
    server that gives them elsewhere.
    """
    block = session.case.telemetry
    if block is None:
        yield
        return
    from pytest_disagg.telemetry.reading import path_of
    from pytest_disagg.telemetry.recorder import Recorder

    with Recorder(
        path_of(session.rundir.results, session.role),
        lambda: _samplers(session, name, block.metrics if metrics else None),
        node=node_name(),
        interval_s=block.interval_s,
        say=session.log,
    ):
        yield


def _kind(role: str) -> str:
    """Of what a role starts."""
    kinds = {"GEN": "gen", "CTX": "ctx", "DISAGG": COORDINATOR}
    return kinds.get(role.partition("_")[0], SERVER)


def _samplers(session: RoleSession, name: str, metrics: Sequence[str] | None) -> Sequence[tuple[str, Sampler]]:
    """``metrics`` are those that the case names; None: no server is asked for any."""
    from pytest_disagg.telemetry.host import HostSampler, ProcessSampler

    kind, plays_client = _kind(session.role), session.role == "BENCHMARK"
    services = session.options.engine.services(session.case)
    servers = [server for server in session.servers if server.name not in services]
    found: list[tuple[str, Sampler]] = []
    if kind != COORDINATOR:
        # The coordinator's machine is the client's.
        found.append((CLIENT if plays_client else kind, HostSampler()))
    if plays_client:
        found.append((CLIENT, ProcessSampler([os.getpid()], children=False)))
    if servers and kind != COORDINATOR:
        found += [(kind, each) for each in _gpus(session, servers[0].environ())]
    # What follows an aggregated server is the coordinator in front of it.
    for whose, server in zip((kind, COORDINATOR), servers, strict=False):
        if server.child is not None:
            found.append((whose, ProcessSampler([server.child.pid], name=name)))
        if metrics is not None:
            found += [(whose, each) for each in _metrics(session, server, name, metrics)]
    return found


def _metrics(session: RoleSession, server: ServerProcess, name: str, wanted: Sequence[str]) -> Sequence[Sampler]:
    from pytest_disagg.telemetry.engine import EngineSampler

    address, _ = server.address()
    url = session.options.engine.metrics_url(f"http://{address}", server.launch.facts) if address else None
    if url is None:
        return []
    return [EngineSampler(name, url, lambda: http.get(url, ASK_TIMEOUT_S), session.log, wanted)]


def _gpus(session: RoleSession, environ: Mapping[str, str]) -> Sequence[Sampler]:
    """The GPUs of this role's server. That they cannot be sampled is said, in the outcome too where the engine needs
    them."""
    from pytest_disagg.telemetry import gpu
    from pytest_disagg.telemetry.notes import Note

    if not gpu.present():
        session.log("telemetry: this machine has no GPU")
        return []
    try:
        return [gpu.GpuSampler(environ, session.log)]
    except gpu.NoGpuSamplesError as error:
        text = f"no GPU samples: {error}"
        session.log(f"telemetry: {text}")
        return [] if session.options.engine.simulated(session.case) else [Note(text)]
