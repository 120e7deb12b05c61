"""The numbers that launch drafts read, from the placement that every other part of this package uses."""

from __future__ import annotations

from pytest_disagg.config.case import Case, ServerKind
from pytest_disagg.errors import UsageError
from pytest_disagg.topology.placement import Placement, ServerPlacement


def disaggregated(case: Case, placement: Placement) -> dict[str, int]:
    """Exports of a disaggregated job; 0 for each size of a kind that the case has no server of.

    Raises:
        UsageError: servers share nodes, which these numbers cannot say.
    """
    nodes = [node for server in placement.servers for node in server.nodes]
    if len(nodes) != len(set(nodes)):
        raise UsageError(
            f"{case.id.text}: found servers that share nodes (hardware.share_nodes), expected nodes of its own for "
            "each server: the exports of a launch draft have no other form (`disagg submit CASE` and `disagg run` have)"
        )
    ctx, gen = _first(placement, "ctx"), _first(placement, "gen")
    return {
        "numCtxServers": len(placement.of_kind("ctx")),
        "numGenServers": len(placement.of_kind("gen")),
        "gpusPerNode": placement.gpus_per_node,
        "gpusPerCtxServer": ctx.world_size if ctx else 0,
        "gpusPerGenServer": gen.world_size if gen else 0,
        "nodesPerCtxServer": len(ctx.nodes) if ctx else 0,
        "nodesPerGenServer": len(gen.nodes) if gen else 0,
        "gpusPerNodePerCtxServer": ctx.tasks_per_node[0] if ctx else 0,
        "gpusPerNodePerGenServer": gen.tasks_per_node[0] if gen else 0,
        # Older drafts read the last two under these names.
        "gpusPerfNodePerfCtxServer": ctx.tasks_per_node[0] if ctx else 0,
        "gpusPerfNodePerfGenServer": gen.tasks_per_node[0] if gen else 0,
        "totalNodes": placement.total_nodes,
        "totalGpus": placement.total_gpus,
    }


def aggregated(case: Case, placement: Placement) -> dict[str, int]:
    """Exports of a job that one process plays.

    Raises:
        UsageError: more than one server: a job of this form starts one.
    """
    if len(placement.servers) != 1:
        names = ", ".join(server.name for server in placement.servers)
        raise UsageError(
            f"{case.id.text}: found {len(placement.servers)} servers ({names}), expected an id that names one of them"
        )
    (server,) = placement.servers
    return {
        "gpusPerNode": placement.gpus_per_node,
        "gpusPerNodePerServer": server.tasks_per_node[0],
        "nodesPerServer": len(server.nodes),
        "totalNodes": placement.total_nodes,
        "world_size": server.world_size,
    }


def uneven(placement: Placement) -> list[ServerPlacement]:
    """Servers with fewer tasks on their last node: nodes x tasks per node, as most drafts have it, is too many."""
    return [server for server in placement.servers if len(set(server.tasks_per_node)) > 1]


def _first(placement: Placement, kind: ServerKind) -> ServerPlacement | None:
    return next(iter(placement.of_kind(kind)), None)
