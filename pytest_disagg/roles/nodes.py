"""Servers over several nodes whose engine starts a process on each: rank 0 leads, the others follow.

The process of another node plays ``<ROLE>.node<rank>``, a role that only the server's leader watches. The leader
publishes where its nodes meet before it starts; what ends a follower ends the leader, with the follower's cause.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pytest_disagg.config.case import Case, ServerKind, ServerSpec
from pytest_disagg.engines.base import address_of
from pytest_disagg.engines.protocol import MEETING_PORTS, Engine, Launch
from pytest_disagg.errors import UsageError
from pytest_disagg.process.ports import UNDRAWN
from pytest_disagg.roles.children import ServerProcess
from pytest_disagg.roles.coordinator import ROLE as COORDINATOR
from pytest_disagg.roles.options import RunOptions
from pytest_disagg.roles.preparing import await_prepared, prepare
from pytest_disagg.roles.requests import Place, server_request
from pytest_disagg.roles.sampling import sampled
from pytest_disagg.roles.services import wait_for_services
from pytest_disagg.roles.serving import serve_until_outcome
from pytest_disagg.roles.session import POLL_S, SETTLE_S, RoleSession
from pytest_disagg.topology.placement import ServerPlacement, place

MEET = "rendezvous"
LEAD = "lead"
DONE = "done"


def node_rank(environ: Mapping[str, str] = os.environ) -> int:
    """The rank of this task in its Slurm step; 0 outside of one."""
    rank = environ.get("SLURM_PROCID", "")
    return int(rank) if rank.isdecimal() else 0


def node_roles(case: Case, engine: Engine, role: str) -> tuple[str, ...]:
    """The roles of the other nodes of the server that ``role`` leads. An aggregated case's largest server counts."""
    if not any(engine.on_every_node(case, spec) for spec in case.servers):
        return ()
    plays_all = case.id.runtime == "alone"
    servers = [server for server in place(case).servers if plays_all or server.role == role]
    nodes = max((_nodes(engine, case, server) for server in servers), default=1)
    return tuple(f"{role}.node{rank}" for rank in range(1, nodes))


def every_role(session: RoleSession) -> list[str]:
    """The roles of the run, each with those of the other nodes of its server."""
    case, engine = session.case, session.options.engine
    roles = case.roles or (session.role,)
    return [each for role in roles for each in (role, *node_roles(case, engine, role))]


def machines_of(case: Case, engine: Engine) -> int:
    """How many machines the case needs. One plays every node of simulated servers, if each is one process."""
    spread = any(_nodes(engine, case, server) > 1 for server in place(case).servers)
    return place(case).total_nodes if spread or not engine.simulated(case) else 1


def first_place(session: RoleSession, role: str, spec: ServerSpec, services: Mapping[str, str]) -> Place:
    """The leader's place, with ports for the nodes that follow."""
    if not session.options.engine.on_every_node(session.case, spec):
        return Place(services)
    nodes = len(place(session.case).server(role).nodes)
    if nodes == 1:
        return Place(services)
    port = session.ports(highest=UNDRAWN, count=MEETING_PORTS)
    return Place(services, 0, nodes, address_of(session.options.host, port))


def lead(session: RoleSession, at: Place, launch: Launch, index: int = 0) -> None:
    """Tell the nodes that follow where to meet, and what the leader's launch has to say."""
    if at.nodes > 1:
        told = {f"{LEAD}.{index}.{name}": value for name, value in launch.facts.items()}
        session.publish_facts({**told, f"{MEET}.{index}": at.rendezvous})


def server_done(session: RoleSession, index: int) -> None:
    """Let the nodes that follow stop their part of server ``index`` of an aggregated case."""
    session.publish_facts({f"{DONE}.{index}": "yes"})


def run_follower(options: RunOptions, role: str, rank: int) -> None:
    """Play node ``rank`` of the server (or, of an aggregated case, the servers) that ``role`` leads.

    Raises:
        RunError: this node's process or another role failed.
        UsageError: the engine starts nothing on this node.
    """
    case, engine = options.case, options.engine
    alone = case.id.runtime == "alone"
    name = f"{role}.node{rank}"
    if name not in node_roles(case, engine, role):
        raise UsageError(
            f"rank {rank} of {role}: engine {case.engine} starts one process for each node of a server; "
            f"expected {', '.join(('0', *(each.rpartition('.node')[2] for each in node_roles(case, engine, role))))}"
        )
    others = [role] if alone else case.roles
    with RoleSession(options, name, others) as session:
        services = wait_for_services(session, role if alone else COORDINATOR)
        servers = [server for server in place(case).servers if alone or server.role == role]
        for server in servers:
            if rank >= _nodes(engine, case, server):
                continue
            index = server.index if alone else 0
            prepare(session, server.spec)
            await_prepared(session, [role])
            at = Place(services, rank, len(server.nodes), *_told(session, role, index))
            _start(session, server, at)
            _serve(session, role, index)
            session.stop_servers()
        serve_until_outcome(session, "")


def _nodes(engine: Engine, case: Case, server: ServerPlacement) -> int:
    return len(server.nodes) if engine.on_every_node(case, server.spec) else 1


def _start(session: RoleSession, server: ServerPlacement, at: Place) -> None:
    kinds: Mapping[ServerKind, str] = {"ctx": "CTX server", "gen": "GEN server", "server": "server"}
    title = f"{kinds[server.kind]} {server.index} (node {at.node_rank})"
    launch = session.options.engine.server(server_request(session, server.spec, session.role, server.index, at))
    log: Path = session.rundir.log(f"{server.role}.node{at.node_rank}")
    process = ServerProcess(title, launch, log, grace_s=session.limits.grace_s, env=dict(server.spec.env))
    with session.stage("launch"):
        session.start(process)
    session.log(f"{title}: pid {process.child.pid if process.child else 0}, meets {at.rendezvous}, log {log}")


def _told(session: RoleSession, leader: str, index: int) -> tuple[str, dict[str, str]]:
    """Where the nodes of server ``index`` meet, and what its leader's launch has to say."""
    prefix = f"{LEAD}.{index}."

    def look() -> tuple[tuple[str, dict[str, str]] | None, str]:
        state = session.monitor.states.get(leader)
        if state is None:
            return None, f"{leader} not started"
        meet = state.facts.get(f"{MEET}.{index}")
        said = {name[len(prefix) :]: value for name, value in state.facts.items() if name.startswith(prefix)}
        return (None if meet is None else (meet, said)), f"{leader} {state.state} in stage {state.stage}"

    with session.stage("launch"):
        return session.wait(
            look,
            what=f"{leader} to say where the nodes of its server meet",
            limit_s=session.left_s() if index else session.limits.launch_s,
            key="slurm.timeout" if index else "timeouts.launch_s",
            kind="infrastructure",
        )


def _serve(session: RoleSession, leader: str, index: int) -> None:
    """Until the leader has no more use for the server.

    Raises:
        RunError: see :meth:`RoleSession.check`.
    """
    session.publish(state="ready")
    session.stage_name = "serve"

    def done() -> bool:
        state = session.monitor.states.get(leader)
        ended = state is not None and (state.state in ("stopping", "stopped") or f"{DONE}.{index}" in state.facts)
        return ended or session.monitor.outcome is not None

    with sampled(session, f"SERVER_{index}", metrics=False):
        while not done():
            ended = any(server.ended() is not None for server in session.servers)
            # Where the leader stops its part, this one may end before the leader's word is read here.
            if ended and session.wait_quietly(done, limit_s=SETTLE_S):
                return
            session.check()
            session.monitor.pause(POLL_S)
