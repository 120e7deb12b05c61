"""nginx in front of a server: TLS by a throw-away authority, passwords, tokens, client certificates."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests
import trustme

from tests.ports import hold

USER, PASSWORD, TOKEN = "ci-runner", "correct-horse-battery", "tok-4f1d9a7c2b"
START_S = 120.0

_CONFIG = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
  access_log off;
  client_max_body_size 64m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
  server {{ listen 127.0.0.1:{basic} ssl; auth_basic x; auth_basic_user_file {folder}/users;
    location / {{ proxy_pass {upstream}; }} }}
  server {{ listen 127.0.0.1:{token} ssl;
    if ($http_authorization != "Bearer {secret}") {{ return 401; }}
    location / {{ proxy_pass {upstream}; }} }}
  server {{ listen 127.0.0.1:{client} ssl; ssl_client_certificate {folder}/ca.pem; ssl_verify_client on;
    location / {{ proxy_pass {upstream}; }} }}
}}
"""


def unavailable() -> str:
    """Why this cannot run here; empty where it can."""
    if _nginx() is None or shutil.which("htpasswd") is None:
        return "no nginx or htpasswd here: bash tests/opensearch.sh installs them"
    return ""


def _nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


@dataclass
class Guarded:
    """URLs that ask for a password, a token, a client certificate; ``ca`` is the authority of all of them."""

    basic: str
    token: str
    client: str
    ca: Path
    other_ca: Path
    certificate: Path
    key: Path


@contextmanager
def guarding(upstream: str, folder: Path) -> Iterator[Guarded]:
    """nginx before ``upstream`` as long as this is open."""
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    other.cert_pem.write_to_path(str(folder / "other-ca.pem"))
    ours = authority.issue_cert("127.0.0.1")
    ours.cert_chain_pems[0].write_to_path(str(folder / "server.pem"))
    ours.private_key_pem.write_to_path(str(folder / "server.key"))
    client = authority.issue_cert("runner@example.org")
    client.cert_chain_pems[0].write_to_path(str(folder / "client.pem"))
    client.private_key_pem.write_to_path(str(folder / "client.key"))
    users = subprocess.run(
        ["htpasswd", "-inB", "-C", "4", USER], input=PASSWORD, capture_output=True, text=True, check=True
    )
    (folder / "users").write_text(users.stdout, encoding="utf-8")
    held, ports = hold(3)
    config = folder / "nginx.conf"
    config.write_text(
        _CONFIG.format(
            folder=folder,
            user=f"user {getpass.getuser()};" if os.geteuid() == 0 else "",
            upstream=upstream,
            secret=TOKEN,
            basic=ports[0],
            token=ports[1],
            client=ports[2],
        ),
        encoding="utf-8",
    )
    held.release()
    process = subprocess.Popen([str(_nginx()), "-c", str(config), "-p", str(folder)], stderr=subprocess.PIPE)
    try:
        _wait(f"https://127.0.0.1:{ports[0]}", folder / "ca.pem", process)
        basic, token, certified = (f"https://127.0.0.1:{port}" for port in ports)
        yield Guarded(
            basic,
            token,
            certified,
            folder / "ca.pem",
            folder / "other-ca.pem",
            folder / "client.pem",
            folder / "client.key",
        )
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _wait(url: str, ca: Path, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S
    seen = ""
    while time.monotonic() < until and process.poll() is None:
        try:
            requests.get(url, verify=str(ca), timeout=2)
        except requests.RequestException as error:
            seen = str(error)
            time.sleep(0.05)
        else:
            return
    process.kill()
    raise RuntimeError(f"nginx did not answer at {url}: {seen} {process.communicate()[1]!r}")
