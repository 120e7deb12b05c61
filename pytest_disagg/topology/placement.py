"""Which GPUs of which node each server of a case gets. A pure function of the case.

The counts are those of TensorRT-LLM's perf-sanity launcher (``jenkins/scripts/perf/submit.py``), except that a server
gets exactly ``world_size`` tasks: that launcher starts nodes x GPUs-per-node tasks, which is more than the world size
of a server that does not fill its nodes evenly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.topology.problems import problem

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case, ServerKind, ServerSpec

MAX_RANKS = 100_000
"""Of all servers of a case together. More is a typing error, not a cluster, and would take minutes to place."""

COORDINATOR_NODE = 0
"""The coordinator and the client get no node of their own: both run beside the first server."""


@dataclass(frozen=True)
class NodeShare:
    """What one server has on one node: the global ranks ``first_rank .. first_rank + tasks - 1``, one GPU each."""

    node: int
    first_rank: int
    gpus: tuple[int, ...]

    @property
    def tasks(self) -> int:
        return len(self.gpus)

    @property
    def ranks(self) -> tuple[int, ...]:
        return tuple(range(self.first_rank, self.first_rank + self.tasks))


@dataclass(frozen=True)
class ServerPlacement:
    """One server: ``shares`` in rank order, so ``shares[0].node`` is the node of its leader, rank 0.

    ``role`` is ``GEN_<i>``, ``CTX_<i>``, or ``SERVER_<i>`` for the i-th server of a case that one process plays alone.
    """

    role: str
    index: int
    spec: ServerSpec = field(repr=False)
    shares: tuple[NodeShare, ...]

    @property
    def kind(self) -> ServerKind:
        return self.spec.kind

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def world_size(self) -> int:
        return self.spec.world_size

    @property
    def nodes(self) -> tuple[int, ...]:
        return tuple(share.node for share in self.shares)

    @property
    def tasks_per_node(self) -> tuple[int, ...]:
        """Tasks on each of ``nodes``; full nodes first, the rest on the last; the sum is ``world_size``."""
        return tuple(share.tasks for share in self.shares)


@dataclass(frozen=True)
class Placement:
    """All servers of a case, GEN then CTX (or the servers of an ``alone`` case in file order).

    Nodes are numbered from 0 in the order in which they are first used. The servers of an ``alone`` case run one after
    another, so they share node numbers and the case needs as many nodes as its largest server.
    """

    gpus_per_node: int
    alone: bool
    servers: tuple[ServerPlacement, ...]

    @property
    def total_nodes(self) -> int:
        return 1 + max(node for server in self.servers for node in server.nodes)

    @property
    def total_gpus(self) -> int:
        """GPUs of all nodes that the case occupies, used or not: what an allocation of whole nodes costs."""
        return self.total_nodes * self.gpus_per_node

    @property
    def multi_node(self) -> bool:
        return self.total_nodes > 1

    def of_kind(self, kind: ServerKind) -> tuple[ServerPlacement, ...]:
        return tuple(server for server in self.servers if server.kind == kind)

    def nodes_of(self, kind: ServerKind) -> int:
        """How many nodes hold a server of that kind. With ``share_nodes`` one node may count for GEN and for CTX."""
        return len({node for server in self.of_kind(kind) for node in server.nodes})

    def server(self, role: str) -> ServerPlacement:
        """The placement of that role.

        Raises:
            KeyError: no server of this case has that role (the coordinator and the client are none).
        """
        for server in self.servers:
            if server.role == role:
                return server
        raise KeyError(role)


def nodes_per_server(world_size: int, gpus_per_node: int) -> int:
    """Nodes that one server of ``world_size`` ranks occupies."""
    return math.ceil(world_size / gpus_per_node)


def place(case: Case) -> Placement:
    """Place every server of ``case``.

    A server takes whole nodes of its own. With ``share_nodes``, servers smaller than a node are packed instead, in
    order, each on the first shared node that has enough free GPUs, GEN and CTX alike; none of them is ever split, and
    the free GPUs on the last node of a larger server stay free.

    Raises:
        ConfigError: no server, no GPU on a node, a server without ranks, or more than ``MAX_RANKS`` ranks in all.
    """
    _check(case)
    alone = case.id.runtime == "alone"
    placed = _alone(case) if alone else _together(case)
    return Placement(gpus_per_node=case.gpus_per_node, alone=alone, servers=tuple(placed))


def _alone(case: Case) -> Iterable[ServerPlacement]:
    index = 0
    for spec in case.servers:
        for _ in range(spec.count):
            shares = _whole_nodes(spec.world_size, case.gpus_per_node, first_node=0)
            yield ServerPlacement(f"SERVER_{index}", index, spec, shares)
            index += 1


def _together(case: Case) -> Iterable[ServerPlacement]:
    next_node = 0
    used_gpus: dict[int, int] = {}
    gen_then_ctx = [spec for kind in ("gen", "ctx") for spec in case.servers if spec.kind == kind]
    for spec in gen_then_ctx:
        for index in range(spec.count):
            role = f"{spec.kind.upper()}_{index}"
            if not case.share_nodes or spec.world_size >= case.gpus_per_node:
                shares = _whole_nodes(spec.world_size, case.gpus_per_node, first_node=next_node)
                next_node += len(shares)
            else:
                fits = (node for node, used in used_gpus.items() if used + spec.world_size <= case.gpus_per_node)
                node = next(fits, next_node)
                first_gpu = used_gpus.setdefault(node, 0)
                used_gpus[node] += spec.world_size
                next_node = max(next_node, node + 1)
                shares = (NodeShare(node, 0, tuple(range(first_gpu, first_gpu + spec.world_size))),)
            yield ServerPlacement(role, index, spec, shares)


def _whole_nodes(world_size: int, gpus_per_node: int, *, first_node: int) -> tuple[NodeShare, ...]:
    return tuple(
        NodeShare(
            node=first_node + i,
            first_rank=i * gpus_per_node,
            gpus=tuple(range(min(gpus_per_node, world_size - i * gpus_per_node))),
        )
        for i in range(nodes_per_server(world_size, gpus_per_node))
    )


def _check(case: Case) -> None:
    problems: list[Problem] = []
    if case.gpus_per_node < 1:
        problems.append(problem(case, "hardware.gpus_per_node", str(case.gpus_per_node), "at least 1"))
    for index, spec in enumerate(case.servers):
        if spec.world_size < 1:
            block = {"server": f"server_configs.{index}", "gen": "worker_config.gen", "ctx": "worker_config.ctx"}
            key = "worker_config.ctx" if case.id.mode == "ctx_only" else block[spec.kind]
            problems.append(problem(case, key, f"a world size of {spec.world_size}", "at least 1 rank (TP x PP x CP)"))
        if spec.count < 0:
            problems.append(problem(case, f"hardware.num_{spec.kind}_servers", str(spec.count), "at least 0"))
    ranks = sum(max(spec.count, 0) * max(spec.world_size, 0) for spec in case.servers)
    if ranks > MAX_RANKS:
        problems.append(problem(case, "hardware", f"{ranks} ranks in all", f"at most {MAX_RANKS}"))
    if sum(max(spec.count, 0) for spec in case.servers) == 0:
        problems.append(problem(case, "hardware", f"no server to place for {case.id.text}", "at least one server"))
    elif case.id.runtime == "disagg" and case.num_gen < 1:
        expected = "at least 1 in a disaggregated case"
        problems.append(problem(case, "hardware.num_gen_servers", str(case.num_gen), expected))
    if problems:
        raise ConfigError(problems)
