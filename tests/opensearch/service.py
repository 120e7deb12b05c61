"""A server that behaves like the posting service, in front of a real OpenSearch.

It takes a JSON array whole or not at all: every field needs a known prefix and exactly the type that it promises. It
adds ``ts_created`` and ``@timestamp``, and passes searches of its projects on.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

_TYPES: dict[str, tuple[type, ...]] = {"l_": (int,), "d_": (float,), "s_": (str,), "b_": (bool,), "ts_": (int,)}
_EXEMPT = {"@timestamp", "_id", "_index", "_score", "_type", "_project", "_shard", "_version"}


class Service:
    """``user`` and ``password`` are asked for, as a proxy does, except of projects named sandbox."""

    def __init__(self, upstream: str, user: str = "ci", password: str = "open-sesame") -> None:
        self.upstream = upstream
        self.posts: list[int] = []
        self._expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                service._post(self, self.rfile.read(int(self.headers["Content-Length"])))

            def do_GET(self) -> None:
                service._get(self, self.rfile.read(int(self.headers["Content-Length"])))

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def serving(self) -> Iterator[Service]:
        by_prefix = {"s_*": "keyword", "l_*": "long", "d_*": "double", "b_*": "boolean", "ts_*": "date"}
        templates = [{name[0]: {"match": name, "mapping": {"type": kind}}} for name, kind in by_prefix.items()]
        body = {"index_patterns": ["df-*"], "template": {"mappings": {"dynamic_templates": templates}}}
        requests.put(f"{self.upstream}/_index_template/df", json=body, timeout=30).raise_for_status()
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()
            requests.delete(f"{self.upstream}/_index_template/df", timeout=30)

    def _post(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        _, _, project, last = (request.path.split("/") + [""] * 4)[:4]
        if "sandbox" not in project and request.headers.get("Proxy-Authorization") != self._expected:
            return self._answer(request, 401, {"error": "who are you?"})
        documents = json.loads(body)
        problem = next(filter(None, map(_problem, documents)), "")
        if problem or last != "posting":
            return self._answer(request, 400, {"error": problem or "no such place"})
        self.posts.append(len(documents))
        now = int(time.time() * 1000)
        lines = []
        for each in documents:
            key = each.pop("_id")
            lines += [{"index": {"_id": key}}, {"ts_created": now, "@timestamp": now, **each}]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        headers = {"Content-Type": "application/x-ndjson"}
        url = f"{self.upstream}/df-{project}-2026/_bulk?refresh=true"
        answer = requests.post(url, data=text, headers=headers, timeout=30)
        return self._answer(request, 201 if not answer.json()["errors"] else 500, answer.json())

    def _get(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        path = request.path.removeprefix("/opensearch")
        headers = {"Content-Type": "application/json"}
        answer = requests.get(f"{self.upstream}{path}", data=body, headers=headers, timeout=30)
        self._answer(request, answer.status_code, answer.json())

    @staticmethod
    def _answer(request: BaseHTTPRequestHandler, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)


def _problem(document: dict[str, Any]) -> str:
    for name, value in document.items():
        types = next((types for prefix, types in _TYPES.items() if name.startswith(prefix)), None)
        if name not in _EXEMPT and (types is None or type(value) not in types):
            return f"{name}: {value!r}"
    return ""
