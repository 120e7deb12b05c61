"""A real OpenSearch for a session, and names of its own for each test."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from pytest_disagg.records.record import Record
from pytest_disagg.store.documents import Document, document
from pytest_disagg.store.opensearch.store import OpenSearchStore, OpenSearchType
from tests.opensearch.proxy import Proxy
from tests.opensearch.server import OpenSearchServer, unavailable

VARIABLE = "DISAGG_TEST_OPENSEARCH_URL"
CREATED_MS = 1_795_000_000_000
"""In November 2026."""


@pytest.fixture(scope="session")
def opensearch_url() -> Iterator[str]:
    """The URL of a server that answers."""
    if url := os.environ.get(VARIABLE):
        yield url.rstrip("/")
        return
    if reason := unavailable():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="disagg-opensearch-"))
    server = OpenSearchServer(folder)
    try:
        server.start()
        yield server.url
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Lab:
    """One test's part of a server: everything is named ``index``. ``environ`` selects it."""

    url: str
    index: str

    @property
    def environ(self) -> dict[str, str]:
        return self.through(self.url)

    def through(self, url: str, **more: str) -> dict[str, str]:
        """The environment that reaches it by another URL."""
        return {"OPENSEARCH_URL": url, "OPENSEARCH_INDEX": self.index, "OPENSEARCH_TIMEOUT_S": "30", **more}

    def store(self, **more: str) -> OpenSearchStore:
        return OpenSearchType().open({**self.environ, **more})

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(method, f"{self.url}/{path}", json=body, timeout=30)
        assert answer.ok or answer.status_code == 404, answer.text
        return answer.json()

    def documents(self, index: str = "") -> dict[str, dict[str, Any]]:
        """All documents by id, as they are now."""
        self.ask("POST", f"{index or self.index}*/_refresh")
        hits = self.ask("POST", f"{index or self.index}*/_search", {"size": 10000, "version": True})["hits"]["hits"]
        return {hit["_id"]: {**hit["_source"], "_version": hit["_version"]} for hit in hits}


@pytest.fixture
def lab(opensearch_url: str) -> Iterator[Lab]:
    made = Lab(opensearch_url, f"t-{uuid.uuid4().hex[:12]}")
    yield made
    requests.delete(f"{opensearch_url}/{made.index}*", timeout=30)
    requests.delete(f"{opensearch_url}/_index_template/{made.index}", timeout=30)


@pytest.fixture
def proxy(lab: Lab) -> Iterator[Proxy]:
    with Proxy(lab.url).serving() as made:
        yield made


def record(number: int = 0, **fields: Any) -> Record:
    """A valid record; ``number`` makes it another one."""
    return {
        "l_schema_version": 1,
        "s_run_id": f"run-{number}",
        "s_case_id": "aggr_upload-x",
        "s_test_list": "aggr_upload-x",
        "s_test_case_name": "x-con8",
        "s_client_name": "con8",
        "s_engine": "sim",
        "s_gpu_type": "none",
        "l_concurrency": 8,
        "l_repeat": 0,
        "ts_created": CREATED_MS + number,
        "b_is_valid": True,
        "d_token_throughput": 100.0 + number,
        **fields,
    }


def documents(count: int) -> list[Document]:
    return [document(record(number)) for number in range(count)]


def soon(seconds: float = 120.0) -> float:
    """A moment of the monotonic clock that no test that works gets to."""
    return time.monotonic() + seconds
