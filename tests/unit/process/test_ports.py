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


def test_a_program_may_take_only_low_ports() -> None:
    ports = Ports("127.0.0.1")
    found = [ports(highest=32767) for _ in range(20)]
    try:
        assert len(set(found)) == 20
        assert all(1024 < port <= 32767 for port in found)
        with socket.socket() as other, pytest.raises(OSError):
            other.bind(("127.0.0.1", found[0]))
    finally:
        ports.close()
    with pytest.raises(UsageError, match=r"cannot bind a port of 203\.0\.113\.1"):
        Ports("203.0.113.1")(highest=32767)


def test_several_in_a_row() -> None:
    ports = Ports("127.0.0.1")
    first = ports(count=3)
    for port in range(first, first + 3):
        with pytest.raises(OSError, match="in use"):
            listen(port)
    ports.release()
    for port in range(first, first + 3):
        listen(port)
    ports.close()


def test_a_row_is_not_cut_by_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = Ports("127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        at = taken.getsockname()[1]
        drawn = iter([at - 1, at - 2])
        ours = ports._bound
        monkeypatch.setattr(ports, "_bound_below", lambda highest, *, shared: ours(next(drawn, 0), shared=shared))
        first = ports(count=3)
        assert at not in range(first, first + 3)
    ports.close()
