"""A placed case as plain data: what ``disagg plan --json`` prints and ``plan.json`` holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_disagg.topology.placement import COORDINATOR_NODE, Placement, ServerPlacement

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case


def layouts(case: Case, placement: Placement) -> list[dict[str, Any]]:
    """One JSON object for a disaggregated case; one for each server of a case that one process plays alone.

    ``total_nodes``, ``total_gpus``, ``gpus_per_node``, ``num_ctx_servers``, ``num_gen_servers``, ``ctx_nodes`` and
    ``gen_nodes`` have the names and meanings of the older ``calculate_hardware_nodes.py``: the last two count the nodes
    of *all* CTX and of all GEN servers. ``ctx`` and ``gen`` (or ``server``) hold the sizes of one server.
    """
    if not placement.alone:
        sizes = {kind: _sizes(placement.of_kind(kind)) for kind in ("ctx", "gen")}
        return [_head(case, placement) | sizes | _where(placement.servers, case.roles)]
    return [
        _head(case, placement)
        | {"server": {"name": server.name} | _sizes((server,))}
        | _where((server,), (server.role,))
        for server in placement.servers
    ]


def _head(case: Case, placement: Placement) -> dict[str, Any]:
    return {
        "case": case.id.text,
        "path": str(case.path),
        "engine": case.engine,
        "mode": case.id.mode,
        "model": case.model,
        "total_nodes": placement.total_nodes,
        "total_gpus": placement.total_gpus,
        "gpus_per_node": placement.gpus_per_node,
        "num_ctx_servers": len(placement.of_kind("ctx")),
        "num_gen_servers": len(placement.of_kind("gen")),
        "ctx_nodes": placement.nodes_of("ctx"),
        "gen_nodes": placement.nodes_of("gen"),
    }


def _sizes(servers: tuple[ServerPlacement, ...]) -> dict[str, Any]:
    """The sizes of equal servers; all zero where there is none."""
    one = servers[0] if servers else None
    tasks = one.tasks_per_node if one else ()
    return {
        "servers": len(servers),
        "gpus_per_server": one.world_size if one else 0,
        "nodes_per_server": len(tasks),
        "gpus_per_node_per_server": max(tasks, default=0),
        "tasks_per_server": sum(tasks),
        "tasks_per_node": list(tasks),
    }


def _where(servers: tuple[ServerPlacement, ...], roles: tuple[str, ...]) -> dict[str, Any]:
    nodes: dict[int, list[dict[str, Any]]] = {}
    for server in servers:
        for share in server.shares:
            entry = {"role": server.role, "ranks": list(share.ranks), "gpus": list(share.gpus)}
            nodes.setdefault(share.node, []).append(entry)
    beside = [role for role in roles if role not in {server.role for server in servers}]
    nodes[COORDINATOR_NODE] += [{"role": role, "ranks": [0], "gpus": []} for role in beside]
    return {"roles": list(roles), "nodes": [{"node": node, "roles": nodes[node]} for node in sorted(nodes)]}
