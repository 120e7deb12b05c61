"""Stand-in for the HTTP API of the Hugging Face Hub, as far as a snapshot of a model needs it.

GET  /api/models/<repo>[/revision/<revision>]    files, sizes, commit
GET  /api/models/<repo>/tree/<revision>          the same files
HEAD, GET /<repo>/resolve/<revision>/<file>      a file
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "stand-in Hugging Face Hub"


class Hub:
    """One repository. ``token``: what a request must bring; ``sent`` are the files that were given out, in order, and
    ``revisions`` what they, and what there is, were asked for by.

    A file is not given out before ``gate`` is set, where it is cleared.
    """

    def __init__(self, repo: str, files: dict[str, bytes], *, token: str = "", revision: str = "main") -> None:
        self.repo, self.files, self.token, self.revision = repo, files, token, revision
        self.sent: list[str] = []
        self.revisions: list[str] = []
        self.asked = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.sizes = {name: len(data) for name, data in files.items()}
        self.url = ""

    @contextmanager
    def serving(self) -> Iterator[Hub]:
        hub = self

        class Handler(_Handler):
            served = hub

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            self.gate.set()
            server.shutdown()
            thread.join()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: Any) -> None:
        return

    def _answer(self, *, body: bool) -> None:
        hub, path = self.served, unquote(urlsplit(self.path).path)
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self._refuse(401, "Invalid credentials in Authorization header", body)
        api, files = f"/api/models/{hub.repo}", f"/{hub.repo}/resolve/"
        if path == api or path.startswith(f"{api}/"):
            rest = path[len(api) :].strip("/").split("/")
            if rest != [""]:
                hub.revisions.append(rest[1])
                if rest[1] not in (hub.revision, COMMIT):
                    return self._refuse(404, f"Invalid rev id: {rest[1]}", body, "RevisionNotFound")
            return self._json(self._tree() if rest[0] == "tree" else self._info())
        if path.startswith(files):
            revision, _, name = path[len(files) :].partition("/")
            if revision in (hub.revision, COMMIT) and name in hub.files:
                hub.revisions.append(revision)
                return self._file(name, body)
        return self._refuse(404, "Repository not found", body, "RepoNotFound")

    def _info(self) -> dict[str, Any]:
        hub = self.served
        siblings = [{"rfilename": name, "size": size, "blobId": name} for name, size in hub.sizes.items()]
        return {"_id": "1", "id": hub.repo, "modelId": hub.repo, "sha": COMMIT, "private": False, "siblings": siblings}

    def _tree(self) -> list[dict[str, Any]]:
        return [
            {"type": "file", "path": name, "size": size, "oid": hashlib.sha1(name.encode()).hexdigest()}
            for name, size in self.served.sizes.items()
        ]

    def _file(self, name: str, body: bool) -> None:
        hub, data = self.served, self.served.files[name]
        if body:
            hub.asked.set()
            hub.gate.wait(60)
            hub.sent.append(name)
        etag = hashlib.sha256(data).hexdigest()
        self._send(200, data, body, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"})

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), True, {"Content-Type": "application/json"})

    def _refuse(self, status: int, message: str, body: bool, code: str = "") -> None:
        headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        self._send(status, json.dumps({"error": message}).encode(), body, headers)

    def _send(self, status: int, data: bytes, body: bool, headers: dict[str, str]) -> None:
        try:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data)), "Server-Name": NAME}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # a client that a test killed
