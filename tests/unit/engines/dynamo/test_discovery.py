"""How Dynamo's processes find each other, and what is started for that."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_disagg.engines.protocol import ServiceRequest
from pytest_disagg.errors import ConfigError
from tests.unit.engines.dynamo.conftest import ENGINE, LoadCase, coordinator, options, server, site, workers

OUTSIDE = {"backend": "etcd", "etcd": "http://10.9.9.9:2379", "nats": "nats://10.9.9.9:4222"}


def test_files_on_one_node(load: LoadCase) -> None:
    case = load()
    assert ENGINE.services(case) == ()
    for launch in (server(case, "gen"), server(case, "ctx"), coordinator(case)):
        said = options(launch)
        assert (said["--discovery-backend"], said["--request-plane"], said["--event-plane"]) == ("file", "tcp", "zmq")
        assert launch.env["DYN_FILE_KV"] == "/run/shared/dynamo"
        assert {launch.env[f"DYN_{name}_HOST"] for name in ("TCP_RPC", "TCP_RESPONSE_STREAM", "EVENT_PLANE")} == {
            "10.0.0.1"
        }
        assert not {"ETCD_ENDPOINTS", "NATS_SERVER"} & set(launch.env)


def test_a_run_has_a_namespace_of_its_own(load: LoadCase) -> None:
    case = load()
    mine = {launch.env["DYN_NAMESPACE"] for launch in (server(case, "gen"), server(case, "ctx"), coordinator(case))}
    others = coordinator(case, shared_dir=Path("/other/shared")).env["DYN_NAMESPACE"]
    assert len(mine) == 1
    assert others not in mine


def test_etcd_and_nats_over_several_nodes(load: LoadCase) -> None:
    several = workers("mocker", {"tensor_parallel_size": 16})
    assert ENGINE.services(load(**several)) == ("etcd", "nats")
    assert ENGINE.services(load(**several, discovery={"backend": "file"})) == ()


def test_etcd_and_nats_that_the_run_starts(load: LoadCase) -> None:
    case = load(discovery={"backend": "etcd"})
    assert ENGINE.services(case) == ("etcd", "nats")
    launch = coordinator(case, services={"etcd": "10.0.0.1:71", "nats": "10.0.0.1:72"})
    said = options(launch)
    assert (said["--discovery-backend"], said["--request-plane"], said["--event-plane"]) == ("etcd", "nats", "nats")
    assert launch.env["ETCD_ENDPOINTS"] == "http://10.0.0.1:71"
    assert launch.env["NATS_SERVER"] == "nats://10.0.0.1:72"
    assert "DYN_FILE_KV" not in launch.env


def test_etcd_and_nats_that_run_already(load: LoadCase) -> None:
    case = load(discovery=OUTSIDE)
    assert ENGINE.services(case) == ()
    env = server(case, "ctx").env
    assert (env["ETCD_ENDPOINTS"], env["NATS_SERVER"]) == (OUTSIDE["etcd"], OUTSIDE["nats"])


def test_files_do_not_reach_beyond_a_machine(load: LoadCase) -> None:
    case = load(discovery={"backend": "file"})
    with pytest.raises(ConfigError) as error:
        coordinator(case, gen=["10.0.0.2:1"])
    assert "discovery.backend: found file, with workers on 10.0.0.2 and the frontend on 10.0.0.1" in str(error.value)
    assert "expected etcd" in str(error.value)


def service(load: LoadCase, name: str) -> ServiceRequest:
    folders = (Path("/tmp/x") / name, Path("/run/config") / name, Path("/run/config") / name / "address")
    return ServiceRequest(load(discovery={"backend": "etcd"}), name, "10.0.0.1", *folders, site())


def test_etcd_is_told_all_of_its_urls_and_its_folder(load: LoadCase) -> None:
    launch = ENGINE.service(service(load, "etcd"))
    said = options(launch)
    assert launch.argv[0] == "etcd"
    assert launch.address == "10.0.0.1:5001"
    assert said["--data-dir"] == "/tmp/x/etcd"
    assert said["--listen-client-urls"] == said["--advertise-client-urls"] == "http://10.0.0.1:5001"
    assert said["--listen-peer-urls"] == said["--initial-advertise-peer-urls"] == "http://10.0.0.1:5002"
    assert said["--initial-cluster"] == f"{said['--name']}=http://10.0.0.1:5002"


def test_nats_keeps_its_state_in_its_folder(load: LoadCase) -> None:
    launch = ENGINE.service(service(load, "nats"))
    config = Path("/run/config/nats/nats.conf")
    assert launch.argv == ("nats-server", "-c", str(config))
    assert launch.address == "10.0.0.1:5001"
    assert launch.files[config].splitlines() == [
        'listen: "10.0.0.1:5001"',
        "max_payload: 8388608",
        'jetstream { store_dir: "/tmp/x/nats" }',
    ]


@contextmanager
def listening(*said: bytes) -> Iterator[str]:
    """A server that says the first line, then one for each thing it is told; its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                for line in said:
                    connection.sendall(line)
                    connection.recv(1024)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize(
    ("said", "ok", "seen"),
    [
        ((b"INFO {}\r\n", b"PONG\r\n"), True, "PONG"),
        ((b"INFO {}\r\n", b"-ERR 'Authorization Violation'\r\n"), False, "Authorization Violation"),
        ((b"HTTP/1.1 400\r\n",), False, "no INFO"),
    ],
)
def test_nats_has_to_answer(said: tuple[bytes, ...], ok: bool, seen: str) -> None:
    with listening(*said) as address:
        found = ENGINE.service_healthy("nats", address, 5)
    assert (found.ok, seen in found.seen) == (ok, True), found


@pytest.mark.parametrize(
    ("body", "ok"), [(b'{"health":"true"}', True), (b'{"health":"false","reason":"no leader"}', False)]
)
def test_etcd_has_to_be_healthy(body: bytes, ok: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    # It answers what it is asked, so the first line is the answer to the request that is on its way already.
    with listening(head + body) as address:
        found = ENGINE.service_healthy("etcd", address, 5)
    assert found.ok is ok
    assert "health" in found.seen


@pytest.mark.parametrize("name", ["etcd", "nats"])
def test_a_service_that_is_not_there(name: str) -> None:
    found = ENGINE.service_healthy(name, "127.0.0.1:9", 1)
    assert not found.ok
    assert "127.0.0.1:9" in found.seen


def test_programs_that_are_not_there_are_named(load: LoadCase, monkeypatch: pytest.MonkeyPatch) -> None:
    def which(name: str) -> str | None:
        return None if name in ("etcd", "nats-server") else name

    monkeypatch.setattr(shutil, "which", which)
    reason = ENGINE.unavailable(load(discovery={"backend": "etcd"}))
    assert reason == (
        "etcd and nats-server not on PATH, which discovery.backend: etcd starts (Debian: etcd-server nats-server)"
    )
    assert "etcd" not in (ENGINE.unavailable(load()) or "")
    assert "etcd" not in (ENGINE.unavailable(load(discovery=OUTSIDE)) or "")
