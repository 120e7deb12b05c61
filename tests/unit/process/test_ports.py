"""Ports that are held until the process that needs them starts."""

from __future__ import annotations

import socket

import pytest

from pytest_disagg.errors import UsageError
from pytest_disagg.process.ports import Ports


def listen(port: int, *, reuse: bool = False) -> None:
    """Bind and listen, as the process would. Raises OSError."""
    socket.create_server(("127.0.0.1", port), reuse_port=reuse).close()


def test_nobody_else_gets_a_port_before_it_is_released() -> None:
    ports = Ports("127.0.0.1")
    port = ports()
    with pytest.raises(OSError, match="in use"):
        listen(port, reuse=True)
    ports.release()
    listen(port)
    ports.close()


def test_a_shared_port_stays_held_while_its_process_listens() -> None:
    ports = Ports("127.0.0.1")
    port = ports(shared=True)
    ports.release()
    listen(port, reuse=True)
    with pytest.raises(OSError, match="in use"):
        listen(port)
    ports.close()
    listen(port)


def test_ports_differ() -> None:
    ports = Ports("127.0.0.1")
    assert len({ports(), ports(), ports(shared=True)}) == 3
    ports.close()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_a_host_that_is_not_this_one(host: str) -> None:
    with pytest.raises(UsageError, match=f"cannot bind a port of {host}: "):
        Ports(host)()
