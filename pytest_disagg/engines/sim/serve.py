"""Running one service as a process: bind, publish the address, stop on a signal."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

from pytest_disagg.engines.sim.console import log
from pytest_disagg.engines.sim.service import Service
from pytest_disagg.engines.sim.truth import TruthLog

BACKLOG = 4096
FLUSH_S = 0.2


def serve(
    service: Service,
    *,
    host: str,
    port: int,
    address_file: Path | None,
    truth: TruthLog | None,
    fast_loop: bool,
    reuse_port: bool = False,
) -> int:
    """Serve until SIGTERM or SIGINT; returns 0.

    ``reuse_port`` is for a port that whoever gave it holds (SO_REUSEPORT); then nobody needs an ``address_file``.

    ``fast_loop`` asks for uvloop where it is installed. uvloop writes at the end of a loop iteration, plain asyncio at
    once: what writes whole batches on a schedule wants the latter.
    """
    loop = _new_loop(fast_loop)
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(_serve(service, host, port, address_file, truth, reuse_port))
    finally:
        if truth is not None:
            truth.close()
        loop.close()
    return 0


def _new_loop(fast: bool) -> asyncio.AbstractEventLoop:
    if fast:
        try:
            import uvloop
        except ImportError:
            pass
        else:
            return uvloop.new_event_loop()
    return asyncio.new_event_loop()


async def _serve(
    service: Service, host: str, port: int, address_file: Path | None, truth: TruthLog | None, reuse_port: bool
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    app = service.app()
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG, reuse_port=reuse_port)
    servers = [await loop.create_server(app.connection, sock=listener, backlog=BACKLOG)]
    try:
        for more in service.ports:
            servers.append(await loop.create_server(app.connection, host, more, backlog=BACKLOG))
        address = _address(host, listener.getsockname()[1])
        if address_file is not None:
            publish(address_file, address)
        log(f"{service.role} listens on {address}: {service.describe()}")
        tasks = {asyncio.ensure_future(service.run(address)), asyncio.ensure_future(stop.wait())}
        if truth is not None:
            tasks.add(asyncio.ensure_future(_flush(truth)))
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for task in done:
            task.result()
        log(f"{service.role} stops")
    finally:
        for server in servers:
            server.close()
        await app.close()
        service.close()


async def _flush(truth: TruthLog) -> None:
    while True:
        await asyncio.sleep(FLUSH_S)
        truth.flush()


def _address(host: str, port: int) -> str:
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def publish(path: Path, text: str) -> None:
    """Write a file so that readers see nothing or all of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
