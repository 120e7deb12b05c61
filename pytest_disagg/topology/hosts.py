"""Slurm host lists, and which hosts the roles of a placed case get. Pure functions; nothing is resolved."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice, product
from typing import TYPE_CHECKING

from pytest_disagg.errors import UsageError

if TYPE_CHECKING:
    from pytest_disagg.topology.placement import Placement

MAX_HOSTS = 65536
"""A list that names more hosts is a typing error (``[1-10000000]``), not a cluster."""

_PIECE = re.compile(r"\[([^\[\]]*)\]|([^\[\]]+)")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


def expand(hostlist: str) -> list[str]:
    """Expand ``gb200-[01-03,07],cpu1`` to host names, as ``scontrol show hostnames`` does: order and zero padding kept.

    A token may hold several brackets (``r[1-2]n[01-02]``; the last one varies fastest) and text after one.

    Raises:
        UsageError: empty list, white space in a name, unbalanced bracket, empty or descending range, more than
            ``MAX_HOSTS`` hosts.
    """
    hosts: list[str] = []
    for token in _tokens(hostlist):
        hosts.extend(islice(_expand_token(token, hostlist), MAX_HOSTS + 1 - len(hosts)))
        if len(hosts) > MAX_HOSTS:
            raise UsageError(f"host list {hostlist!r}: token {token!r}: found more than {MAX_HOSTS} hosts in all")
    return hosts


def assign(placement: Placement, hosts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The hosts of each role, in rank order: node ``i`` of the placement is ``hosts[i]``; hosts beyond it stay unused.

    The coordinator and the client of a disaggregated case are on the first host.

    Raises:
        UsageError: fewer hosts than the placement has nodes, or a host named twice.
    """
    if len(hosts) < placement.total_nodes:
        needed = ", ".join(f"{server.role} {len(server.nodes)}" for server in placement.servers)
        raise UsageError(
            f"too few nodes: found {len(hosts)} allocated ({', '.join(hosts) or 'none'}), "
            f"expected at least {placement.total_nodes} (nodes per server: {needed})"
        )
    twice = sorted({host for host in hosts if hosts.count(host) > 1})
    if twice:
        raise UsageError(f"host list names {', '.join(twice)} more than once, expected each node once")
    roles = {server.role: tuple(hosts[node] for node in server.nodes) for server in placement.servers}
    if not placement.alone:
        roles["DISAGG_SERVER"] = roles["BENCHMARK"] = (hosts[0],)
    return roles


def _tokens(hostlist: str) -> Iterator[str]:
    """Split at the commas outside brackets."""
    if not hostlist.strip():
        raise UsageError(f"host list {hostlist!r}: found no host, expected e.g. 'gb200-[01-03,07],cpu1'")
    depth = 0
    start = 0
    for at, char in enumerate(hostlist + ","):
        if char == "," and (depth == 0 or at == len(hostlist)):
            token = hostlist[start:at].strip()
            if depth or not token or re.search(r"\s", token):
                found = "a bracket that is not closed" if depth else "white space" if token else "an empty entry"
                raise UsageError(f"host list {hostlist!r}: token {token!r}: found {found}, expected name[1-3]")
            yield token
            start = at + 1
        depth += (char == "[") - (char == "]")
        if depth not in (0, 1):
            raise UsageError(
                f"host list {hostlist!r}: token {hostlist[start : at + 1]!r}: "
                f"found {'a bracket inside a bracket' if depth > 1 else 'a ] without its ['}, expected name[1-3]"
            )


def _expand_token(token: str, hostlist: str) -> Iterator[str]:
    choices: list[Sequence[str]] = []
    for bracket, text in _PIECE.findall(token):
        choices.append([text] if text else _numbers(bracket, token, hostlist))
    return ("".join(parts) for parts in product(*choices))


def _numbers(bracket: str, token: str, hostlist: str) -> list[str]:
    """``01-03,07`` -> 01 02 03 07. The lower bound's width is the width of its range, as in Slurm."""
    numbers: list[str] = []
    for part in bracket.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is None:
            raise UsageError(f"host list {hostlist!r}: token {token!r}: found {part!r}, expected N or N-M")
        low, high = match[1], match[2] or match[1]
        first, last = int(low), int(high)
        if last < first or last - first >= MAX_HOSTS:
            expected = "N <= M" if last < first else f"at most {MAX_HOSTS} hosts"
            raise UsageError(f"host list {hostlist!r}: token {token!r}: found range {part!r}, expected {expected}")
        numbers.extend(str(number).zfill(len(low)) for number in range(first, last + 1))
    return numbers
