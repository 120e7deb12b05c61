"""Servers over several nodes: who plays which node, on how many machines, and what a node that follows is told."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_disagg.config.case import Case, CaseId, ServerKind, ServerSpec
from pytest_disagg.engines.protocol import MEETING_PORTS, Launch, ServerRequest
from pytest_disagg.engines.sim.engine import SimEngine
from pytest_disagg.errors import RunError, UsageError
from pytest_disagg.roles.nodes import every_role, first_place, machines_of, node_roles, run_follower
from pytest_disagg.rundir.state import RoleState
from pytest_disagg.rundir.writer import RoleWriter
from pytest_disagg.version import __version__
from tests.unit.roles.conftest import SessionFactory


class EveryNode(SimEngine):
    """Starts a process on every node of a server; nothing is started here, for the request is all there is to see."""

    def on_every_node(self, case: Case, spec: ServerSpec) -> bool:
        return True

    def server(self, request: ServerRequest, *, bootstrap_port: int = 0) -> Launch:
        meets = f"node {request.node_rank} of {request.nodes} meets at {request.rendezvous}"
        raise UsageError(f"{meets}, lead {dict(request.lead)}, services {dict(request.site.services)}")


class Leaning(EveryNode):
    def services(self, case: Case) -> tuple[str, ...]:
        return ("first",)


def spread(case: Case, runtime: str = "disagg") -> Case:
    """GEN takes two nodes of two GPUs and CTX three; of an aggregated case one server has one node, the other two."""

    def spec(kind: ServerKind, name: str, gpus: int) -> ServerSpec:
        return replace(case.servers[0], kind=kind, name=name, world_size=gpus)

    two = replace(case, gpus_per_node=2)
    if runtime == "alone":
        return replace(two, servers=(spec("server", "small", 2), spec("server", "large", 4)))
    disagg = CaseId("disagg-e2e-x", "disagg", "e2e", None, "x")
    return replace(two, id=disagg, servers=(spec("gen", "x", 4), spec("ctx", "x", 6)))


def test_the_other_nodes_of_a_server_have_roles_of_their_own(make_session: SessionFactory) -> None:
    small = make_session().case
    case = spread(small)
    found = {role: node_roles(case, EveryNode(), role) for role in case.roles}
    assert found == {
        "GEN_0": ("GEN_0.node1",),
        "CTX_0": ("CTX_0.node1", "CTX_0.node2"),
        "DISAGG_SERVER": (),
        "BENCHMARK": (),
    }
    session = make_session(engine=EveryNode())
    assert every_role(session) == ["BENCHMARK"]
    session.case = case
    assert every_role(session) == [each for role, others in found.items() for each in (role, *others)]
    assert node_roles(case, SimEngine(), "CTX_0") == ()
    assert node_roles(spread(small, "alone"), EveryNode(), "BENCHMARK") == ("BENCHMARK.node1",)


def test_a_case_needs_as_many_machines_as_nodes_unless_one_process_stands_for_a_server(
    make_session: SessionFactory,
) -> None:
    class Real(SimEngine):
        def simulated(self, case: Case) -> bool:
            return False

    case = make_session().case
    assert [machines_of(case, engine()) for engine in (Real, SimEngine, EveryNode)] == [1, 1, 1]
    assert [machines_of(spread(case), engine()) for engine in (Real, SimEngine, EveryNode)] == [5, 1, 5]


def test_the_ports_above_the_meeting_point_are_free(make_session: SessionFactory) -> None:
    """SGLang takes some of them for attention DP without being told which."""
    session = make_session(engine=EveryNode())
    spec = replace(session.case.servers[0], world_size=2)
    session.case = replace(session.case, servers=(spec,))
    try:
        at = first_place(session, "SERVER_0", spec, {})
        host, _, first = at.rendezvous.partition(":")
        for port in range(int(first), int(first) + MEETING_PORTS):
            with socket.socket() as other, pytest.raises(OSError, match="in use"):
                other.bind((host, port))
    finally:
        session.ports.close()


def test_nothing_comes_upon_the_ports_to_meet_at(make_session: SessionFactory) -> None:
    """An engine loads for minutes before it takes them; connections are given ports from 32768 on meanwhile."""
    session = make_session(engine=EveryNode())
    session.case = spread(session.case, "alone")
    small, large = session.case.servers
    assert first_place(session, "SERVER_0", small, {}).rendezvous == ""
    drawn = [first_place(session, "SERVER_1", large, {"first": "h:1"}) for _ in range(5)]
    session.ports.close()
    assert {(at.node_rank, at.nodes, at.services["first"]) for at in drawn} == {(0, 2, "h:1")}
    assert max(int(at.rendezvous.partition(":")[2]) for at in drawn) + MEETING_PORTS <= 32768


def test_a_node_of_an_aggregated_server_is_told_what_its_leader_started(
    make_session: SessionFactory, tmp_path: Path
) -> None:
    options = make_session(engine=Leaning()).options
    options = replace(options, case=spread(options.case, "alone"))
    options.rundir.make()
    leader = RoleWriter(options.rundir, RoleState(role="BENCHMARK", pid=1, digest="0", version=__version__))
    leader.claim()
    try:
        leader.update(facts={"service.first": "h:1", "lead.1.port": "7", "rendezvous.1": "h:2"})
        with pytest.raises(RunError) as raised:
            run_follower(options, "BENCHMARK", 1)
    finally:
        leader.close()
    assert raised.value.message == "node 1 of 2 meets at h:2, lead {'port': '7'}, services {'first': 'h:1'}"


def test_a_node_that_no_server_has_is_refused(make_session: SessionFactory) -> None:
    options = make_session(engine=EveryNode()).options
    with pytest.raises(UsageError, match=r"rank 2 of GEN_0: .* one process for each node of a server; expected 0, 1"):
        run_follower(replace(options, case=spread(options.case)), "GEN_0", 2)
