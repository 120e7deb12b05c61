"""How Dynamo's processes find each other: by files in a folder that all see, or by etcd and NATS.

Variables and options are those of Dynamo 1.6.1. File discovery is told of changes by inotify, so it does not reach
beyond one machine, whatever file system the folder is on.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from pytest_disagg.engines import http
from pytest_disagg.engines.base import address_of
from pytest_disagg.engines.protocol import Launch, Seen, ServiceRequest, Site
from pytest_disagg.topology.placement import place

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case

ETCD: Literal["etcd"] = "etcd"
NATS = "nats"
PROGRAMS: Mapping[str, str] = {ETCD: "etcd", NATS: "nats-server"}
MAX_PAYLOAD_BYTES = 8 * 2**20
"""Of one NATS message. The default, 1 MiB, is less than the token ids of a long prompt take."""


def backend(case: Case) -> Literal["file", "etcd"]:
    """As the file says; where it says nothing files on one node, etcd and NATS over several."""
    given = case.discovery
    if given is not None and given.backend is not None:
        return given.backend
    if given is not None and given.etcd is not None:
        return ETCD
    return "etcd" if place(case).multi_node else "file"


def services(case: Case) -> tuple[str, ...]:
    """``etcd`` and ``nats`` where discovery needs them and the file does not say where they run."""
    given = case.discovery
    return (ETCD, NATS) if backend(case) == "etcd" and not (given and given.etcd) else ()


def missing(case: Case) -> list[str]:
    """Programs of :func:`services` that are not on PATH."""
    return [PROGRAMS[name] for name in services(case) if shutil.which(PROGRAMS[name]) is None]


def options(case: Case) -> tuple[str, ...]:
    """What every process of Dynamo is told of discovery, of requests and of events."""
    if backend(case) == "file":
        return ("--discovery-backend", "file", "--request-plane", "tcp", "--event-plane", "zmq")
    return ("--discovery-backend", "etcd", "--request-plane", "nats", "--event-plane", "nats")


def environment(case: Case, site: Site, host: str) -> dict[str, str]:
    """Where to look, and what this process is known by. A namespace of its own keeps a run from others' workers."""
    run = hashlib.sha256(str(site.shared_dir).encode()).hexdigest()[:12]
    env = {
        "DYN_NAMESPACE": f"disagg-{run}",
        "DYN_TCP_RPC_HOST": host,
        "DYN_TCP_RESPONSE_STREAM_HOST": host,
        "DYN_EVENT_PLANE_HOST": host,
    }
    if backend(case) == "file":
        return {**env, "DYN_FILE_KV": str(site.shared_dir / "dynamo")}
    given = case.discovery
    etcd = given.etcd if given and given.etcd else f"http://{site.services.get(ETCD, '')}"
    nats = given.nats if given and given.nats else f"nats://{site.services.get(NATS, '')}"
    return {**env, "ETCD_ENDPOINTS": etcd, "NATS_SERVER": nats}


def service(request: ServiceRequest) -> Launch:
    """etcd with all its URLs, or NATS with JetStream; nothing of either outside of ``request.data_dir``."""
    address = address_of(request.host, request.site.port())
    if request.name == NATS:
        config = request.config_dir / "nats.conf"
        text = (
            f"listen: {json.dumps(address)}\n"
            f"max_payload: {MAX_PAYLOAD_BYTES}\n"
            f"jetstream {{ store_dir: {json.dumps(str(request.data_dir))} }}\n"
        )
        return Launch((PROGRAMS[NATS], "-c", str(config)), address=address, files={config: text})
    client, peer = f"http://{address}", f"http://{address_of(request.host, request.site.port())}"
    argv = [PROGRAMS[ETCD], "--name", "disagg", "--data-dir", str(request.data_dir)]
    argv += ["--listen-client-urls", client, "--advertise-client-urls", client]
    argv += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"disagg={peer}"]
    return Launch(tuple(argv), address=address)


def service_healthy(name: str, address: str, timeout_s: float) -> Seen:
    """Whether etcd says so itself, or NATS answers a PING. Never raises."""
    return _nats_healthy(address, timeout_s) if name == NATS else _etcd_healthy(address, timeout_s)


def _etcd_healthy(address: str, timeout_s: float) -> Seen:
    url = f"http://{address}/health"
    said = http.json_of(url, timeout_s)
    return Seen(said is not None and said.get("health") in ("true", True), f"GET {url}: {said or 'no answer'}")


def _nats_healthy(address: str, timeout_s: float) -> Seen:
    """As a client does: the server speaks first, and answers PING only once it takes commands."""
    host, _, port = address.rpartition(":")
    there = host.strip("[]"), int(port)
    try:
        with socket.create_connection(there, timeout_s) as connection, connection.makefile("rb") as lines:
            hello = lines.readline()
            if not hello.startswith(b"INFO "):
                return Seen(False, f"nats://{address}: {hello[:80]!r}, no INFO")
            connection.sendall(b'CONNECT {"verbose":false}\r\nPING\r\n')
            answer = lines.readline().strip()
    except OSError as error:
        return Seen(False, f"nats://{address}: {error}")
    return Seen(answer == b"PONG", f"nats://{address}: {answer.decode('utf-8', 'replace')[:80]}")
