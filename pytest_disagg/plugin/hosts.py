"""The address that the servers of this process bind and publish."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import psutil

from pytest_disagg.errors import UsageError


def host_to_bind(interface: str | None, environ: Mapping[str, str]) -> str:
    """``interface`` as an address: an interface's first IPv4 address, or a host name or address as given.

    Without one: loopback on one machine; in a Slurm job of several nodes the address of this node's name.

    Raises:
        UsageError: neither an interface of this machine nor a name that resolves.
    """
    source = "--disagg-interface"
    if interface is None:
        nodes = environ.get("SLURM_JOB_NUM_NODES") or environ.get("SLURM_NNODES") or "1"
        if nodes == "1":
            return "127.0.0.1"
        interface = environ.get("SLURMD_NODENAME") or socket.gethostname()
        source = "this node's name (--disagg-interface, or interface of the cluster file, says another)"
    for address in psutil.net_if_addrs().get(interface, ()):
        if address.family == socket.AF_INET:
            return str(address.address)
    try:
        return socket.gethostbyname(interface)
    except OSError as error:
        known = ", ".join(sorted(psutil.net_if_addrs()))
        raise UsageError(
            f"{source}: {interface!r} is no interface of this machine ({known}) and does not resolve: {error}"
        ) from error
