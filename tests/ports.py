"""Ports for servers that a test starts and that must be told one."""

from __future__ import annotations

from pytest_disagg.process.ports import Ports

HIGHEST = 32767
"""What connections that go out get by themselves lies above, so that none of them takes one of ours."""


def hold(count: int) -> tuple[Ports, list[int]]:
    """Ports of this machine, and who holds them until they are released."""
    ports = Ports("127.0.0.1")
    return ports, [ports(highest=HIGHEST) for _ in range(count)]
