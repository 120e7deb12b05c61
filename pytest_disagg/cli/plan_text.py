"""A plan for people."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

INDENT = "  "


def render(plan: dict[str, Any]) -> str:
    """The text of one plan: the object that ``--json`` prints, as tables."""
    nodes, gpus = plan["total_nodes"], plan["gpus_per_node"]
    lines = [
        plan["case"],
        f"{INDENT}file    {plan['path']}",
        f"{INDENT}engine  {plan['engine']}, mode {plan['mode']}, model {plan['model']}",
        f"{INDENT}needs   {nodes} node{'s' * (nodes != 1)} x {gpus} GPUs = {plan['total_gpus']} GPUs",
        "",
        *_table(("SERVERS", "COUNT", "GPUS", "NODES", "TASKS PER NODE"), _server_rows(plan)),
        "",
        *_table(("NODE", "ROLE", "RANKS", "GPUS"), _node_rows(plan)),
        "",
        f"{INDENT}roles   {' '.join(plan['roles'])}",
        "",
        *_table(("STAGE", "LIMIT", "TIMES"), _stage_rows(plan)),
        "",
    ]
    waits = ("request_s", "stall_s", "heartbeat_timeout_s", "grace_s")
    lines += [f"{INDENT}waits   " + ", ".join(f"{name} {_seconds(plan['deadlines'][name])}" for name in waits)]
    lines += [f"{INDENT}note    {note}" for note in plan["notes"]]
    if plan["placeholders"]:
        filled_later = ", ".join(f"{key} {value}" for key, value in plan["placeholders"].items())
        lines.append(f"{INDENT}info    placeholders not filled: {filled_later}")
    for command in plan.get("commands", ()):
        lines += ["", *_command(command)]
    return "\n".join(lines)


def _server_rows(plan: dict[str, Any]) -> Iterable[Sequence[str]]:
    for kind in ("gen", "ctx", "server"):
        sizes = plan.get(kind)
        if sizes and sizes["servers"]:
            yield (
                sizes.get("name") or kind.upper(),
                str(sizes["servers"]),
                f"{sizes['gpus_per_server']} each",
                f"{sizes['nodes_per_server']} each",
                " ".join(map(str, sizes["tasks_per_node"])),
            )


def _node_rows(plan: dict[str, Any]) -> Iterable[Sequence[str]]:
    for node in plan["nodes"]:
        for i, entry in enumerate(node["roles"]):
            label = str(node["node"]) if i == 0 else ""
            yield label, entry["role"], _span(entry["ranks"]), _span(entry["gpus"])


def _stage_rows(plan: dict[str, Any]) -> Iterable[Sequence[str]]:
    for stage in plan["stages"]:
        if stage["times"]:
            yield stage["stage"], _seconds(stage["limit_s"]), str(stage["times"])
    yield "whole run", _seconds(plan["deadlines"]["total_s"]), ""


def _command(command: dict[str, Any]) -> Iterable[str]:
    environment = [f"{name}={shlex.quote(value)}" for name, value in command["env"].items()]
    launcher = shlex.join(command["around_pytest"])
    of = f" of {command['ranks']}"
    started = f", started by pytest on rank 0{of}" if launcher else ""
    place = f", node {command['node_rank']}{of}" if "node_rank" in command else started
    yield f"{INDENT}{command['role']}" + (f", {command['stage']} {command['name']}" if "stage" in command else place)
    if launcher:
        yield f"{INDENT * 2}each rank: {launcher} pytest"
    yield INDENT * 2 + " ".join([*environment, shlex.join(command["argv"])])
    for path, text in command["files"].items():
        yield f"{INDENT * 2}{path}:"
        yield from (f"{INDENT * 3}{line}" for line in text.splitlines())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    table = [head, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    return [
        (INDENT + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in table
    ]


def _span(numbers: Sequence[int]) -> str:
    """``0-3`` for consecutive numbers, ``-`` for none."""
    if not numbers:
        return "-"
    return str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"


def _seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"
