"""A tarball from a real HTTP server: attempts, checksum, credentials, and what is unpacked of it."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.local.wrapper.conftest import Programs
from tests.local.wrapper.test_slurm_install import wheel


class Server(ThreadingHTTPServer):
    """Answers with ``answers``, one after the other, the last one for good; keeps the headers it got."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, bytes, int, dict[str, str]]] = []
        self.authorizations: list[str | None] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.authorizations.append(self.headers.get("Authorization"))
        answers = self.server.answers
        status, body, missing, headers = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) + missing))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def serve() -> Iterator[Callable[[], Server]]:
    servers: list[tuple[Server, threading.Thread]] = []

    def start() -> Server:
        server = Server()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        servers.append((server, thread))
        return server

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def tarball(tmp_path: Path) -> bytes:
    """What the pipeline uploads: the wheel, and the sources below ``src``."""
    path = wheel(tmp_path / "wheels")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        tar.add(path, f"TensorRT-LLM/{path.name}")
        text = b"tensorrt-llm==1.0\n"
        info = tarfile.TarInfo("TensorRT-LLM/src/requirements-dev.txt")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return data.getvalue()


@pytest.fixture
def node(tmp_path: Path) -> dict[str, str]:
    return {
        "tarName": "x.tar.gz",
        "resourcePathNode": str(tmp_path / "node"),
        "DISAGG_CLAIM_DIR": str(tmp_path / "claims"),
        "PIP_TARGET": str(tmp_path / "site"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "wheels"),
    }


def test_a_tarball_is_fetched_unpacked_and_its_wheel_installed(
    programs: Programs, serve: Callable[[], Server], tarball: bytes, node: dict[str, str], tmp_path: Path
) -> None:
    server = serve()
    server.answers = [(503, b"busy", 0, {}), (200, tarball[:-9], 9, {}), (200, tarball, 0, {})]
    node["DISAGG_TARBALL_SHA256"] = hashlib.sha256(tarball).hexdigest().upper()
    code, output = programs.run("slurm_install", llmTarfile=f"http://127.0.0.1:{server.port}/x.tar.gz", **node)
    assert code == 0, output
    assert "HTTP status 503" in output
    assert "attempt 3 of 3" in output
    assert (tmp_path / "node" / "x.tar.gz").read_bytes() == tarball
    assert (tmp_path / "node" / "TensorRT-LLM" / "src" / "requirements-dev.txt").is_file()
    assert (tmp_path / "site" / "tensorrt_llm" / "__init__.py").is_file()
    assert not list((tmp_path / "node").glob(".*"))


def test_the_last_attempt_is_the_last(
    programs: Programs, serve: Callable[[], Server], node: dict[str, str], tmp_path: Path
) -> None:
    server = serve()
    server.answers = [(503, b"busy", 0, {})]
    code, output = programs.run("slurm_install", llmTarfile=f"http://127.0.0.1:{server.port}/x", **node)
    assert code == 8, output
    assert len(server.authorizations) == 3
    assert "HTTP status 503" in output
    assert not list((tmp_path / "node").iterdir())


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_what_will_not_pass_is_not_tried_again(
    programs: Programs, serve: Callable[[], Server], node: dict[str, str], status: int
) -> None:
    server = serve()
    server.answers = [(status, b"", 0, {})]
    code, output = programs.run("slurm_install", llmTarfile=f"http://127.0.0.1:{server.port}/x", **node)
    assert (code, f"HTTP status {status}" in output, len(server.authorizations)) == (8, True, 1)


def test_another_checksum_is_an_error_and_leaves_no_file(
    programs: Programs, serve: Callable[[], Server], tarball: bytes, node: dict[str, str], tmp_path: Path
) -> None:
    server = serve()
    server.answers = [(200, tarball, 0, {})]
    node["DISAGG_TARBALL_SHA256"] = "0" * 64
    code, output = programs.run("slurm_install", llmTarfile=f"http://127.0.0.1:{server.port}/x", **node)
    assert code == 8
    assert f"found SHA-256 {hashlib.sha256(tarball).hexdigest()}, expected {'0' * 64}" in output
    assert not list((tmp_path / "node").iterdir())


def test_credentials_reach_their_own_host_only_and_no_log(
    programs: Programs, serve: Callable[[], Server], tarball: bytes, node: dict[str, str], tmp_path: Path
) -> None:
    store, front = serve(), serve()
    store.answers = [(200, tarball, 0, {})]
    front.answers = [(302, b"", 0, {"Location": f"http://127.0.0.1:{store.port}/y?sig=s3cr3t-2"})]
    node["jobWorkspace"] = str(tmp_path)
    url = f"http://ann:s3cr3t%2F1@127.0.0.1:{front.port}/x.tar.gz?token=s3cr3t-3"
    code, output = programs.run("slurm_install", llmTarfile=url, **node)
    assert code == 0, output
    assert front.authorizations == ["Basic " + base64.b64encode(b"ann:s3cr3t/1").decode()]
    assert store.authorizations == [None]
    printed = output + "".join(path.read_text() for path in tmp_path.glob("install_*.log"))
    assert "s3cr3t" not in printed


def test_a_server_that_is_not_there_is_tried_three_times(programs: Programs, node: dict[str, str]) -> None:
    code, output = programs.run("slurm_install", llmTarfile="http://127.0.0.1:1/x", **node)
    assert code == 8
    assert "(3 attempts)" in output


def test_a_path_is_used_where_it_lies(programs: Programs, tarball: bytes, node: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "shared.tar.gz"
    path.write_bytes(tarball)
    code, output = programs.run("slurm_install", llmTarfile=str(path), **node)
    assert code == 0, output
    assert not (tmp_path / "node" / "x.tar.gz").exists()
    code, output = programs.run("slurm_install", llmTarfile=str(path), DISAGG_TARBALL_SHA256="ab", **node)
    assert (code, "expected ab" in output) == (8, True)
    code, output = programs.run("slurm_install", llmTarfile="/no/such.tar.gz", **node)
    assert (code, "found no file /no/such.tar.gz" in output) == (8, True)


def test_a_tarball_that_leads_out_of_its_folder_is_refused(
    programs: Programs, node: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "hostile.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("../outside"))
    code, output = programs.run("slurm_install", llmTarfile=str(path), **node)
    assert code == 9
    assert "member '../outside' leads out of the folder: refused" in output
    assert not (tmp_path / "outside").exists()
