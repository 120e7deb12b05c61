"""The posting service in front of an OpenSearch, as TensorRT-LLM's perf-sanity pipeline uses it.

Paths, projects, variables and time limits are those of its open_search_db.py. Unlike there, numbers are cast to their
prefix's type instead of refusing the batch, tries are spaced, and a search has no limit of 5 000 hits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_disagg.errors import UsageError
from pytest_disagg.records.record import Record
from pytest_disagg.redact import redact
from pytest_disagg.store.batches import batches
from pytest_disagg.store.documents import Document
from pytest_disagg.store.protocol import Rejected, Sent, StoreError, Wanted
from pytest_disagg.store.retry import PASSING, Passing, asked_pause_s, persist
from pytest_disagg.store.search import pages
from pytest_disagg.store.values import Values

PREFIX = "OPEN_SEARCH_DB_"
PROJECT = "swdl-trtllm-infra-ci-prod-perf_sanity_info"
POC_PROJECT = "sandbox-temp-trtllm-ci-perf-v1-test_info"
POST_TIMEOUT_S = 20.0
SEARCH_TIMEOUT_S = 10.0
_TAKEN = (200, 201, 202)
_BAD_DOCUMENT = (400, 413, 422)


@dataclass(frozen=True, repr=False)
class Settings:
    """``user`` is empty for a sandbox project, which asks nobody who they are."""

    url: str
    project: str
    user: str
    password: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Settings:
        """Read them.

        Raises:
            UsageError: the URL is none, or only one half of the credentials is given.
        """
        values = Values(environ, PREFIX)
        project = POC_PROJECT if Values(environ, "").yes("USE_POC_DB", default=False) else PROJECT
        user, password = values.text("CREDENTIALS_USR"), values.secret("CREDENTIALS_PSW")
        if bool(user) != bool(password):
            raise UsageError(f"{PREFIX}CREDENTIALS_USR and {PREFIX}CREDENTIALS_PSW: one is set and the other is not")
        if "sandbox" in project:
            user = password = ""
        return cls(values.url("BASE_URL"), project, user, password)


class PostingType:
    """Entry point: what ``OPEN_SEARCH_DB_BASE_URL`` selects."""

    def selected(self, environ: Mapping[str, str]) -> bool:
        return bool(environ.get(f"{PREFIX}BASE_URL"))

    def open(self, environ: Mapping[str, str]) -> PostingStore:
        return PostingStore(Settings.of(environ))


class PostingStore:
    """One project of the service."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def where(self) -> str:
        return f"{self._settings.url} project {self._settings.project}"

    def send(self, documents: Sequence[Document], *, until: float) -> Sent:
        total = Sent()
        for batch in batches(documents):
            total += self._post(batch, until)
        return total

    def read(self, wanted: Wanted, *, until: float) -> Iterator[Record]:
        url = f"{self._settings.url}/opensearch/df-{self._settings.project}-*/_search"

        def ask(body: dict[str, Any]) -> Mapping[str, Any]:
            answer = self._request("GET", url, body, SEARCH_TIMEOUT_S, until)
            if answer.status not in _TAKEN:
                raise self._failed(answer)
            found = answer.json()
            if not isinstance(found, Mapping):
                raise StoreError(f"{self.where()}: found {answer.text[:200]!r}, expected a search result")
            return found

        return pages(ask, wanted, self.where())

    def _post(self, documents: Sequence[Document], until: float) -> Sent:
        """Post documents together. The service refuses all for one, so what it refuses is halved until it is alone."""
        url = f"{self._settings.url}/dataflow2/{self._settings.project}/posting"
        body = [{**each.body, "_id": each.id} for each in documents]
        answer = self._request("POST", url, body, POST_TIMEOUT_S, until)
        if answer.status in _TAKEN:
            left_out = tuple(f"{each.id[:12]}: {words}" for each in documents for words in each.left_out)
            return Sent(stored=len(documents), left_out=left_out)
        if answer.status not in _BAD_DOCUMENT:
            raise self._failed(answer)
        if len(documents) == 1:
            return Sent(rejected=(Rejected(documents[0].id, answer.words()),))
        middle = len(documents) // 2
        return self._post(documents[:middle], until) + self._post(documents[middle:], until)

    def _request(self, method: str, url: str, body: object, timeout_s: float, until: float) -> _Answer:
        import requests
        from requests.auth import HTTPProxyAuth

        settings = self._settings
        auth = HTTPProxyAuth(settings.user, settings.password) if settings.user else None
        headers = {"Content-Type": "application/json", "Accept-Charset": "UTF-8"}
        data = json.dumps(body).encode()

        def attempt(limit_s: float) -> _Answer:
            try:
                response = requests.request(
                    method, url, data=data, headers=headers, auth=auth, timeout=limit_s, allow_redirects=False
                )
            except requests.exceptions.SSLError as error:
                raise StoreError(redact(f"{self.where()}: {error}")) from error
            except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
                raise Passing(redact(_cause(error))) from error
            except requests.exceptions.ChunkedEncodingError as error:
                raise Passing(redact(str(error))) from error
            except requests.exceptions.RequestException as error:
                raise StoreError(redact(f"{self.where()}: {error}")) from error
            answer = _Answer(response.status_code, response.text)
            if answer.status in PASSING:
                raise Passing(answer.words(), asked_pause_s(response.headers.get("Retry-After")))
            return answer

        return persist(attempt, until=until, timeout_s=timeout_s, what=self.where())

    def _failed(self, answer: _Answer) -> StoreError:
        return StoreError(f"{self.where()}: {answer.words()}")


@dataclass(frozen=True)
class _Answer:
    status: int
    text: str

    def json(self) -> object:
        try:
            found: object = json.loads(self.text)
        except ValueError:
            return None
        return found

    def words(self) -> str:
        return redact(f"{self.status}: {' '.join(self.text.split())[:300]}")


def _cause(error: BaseException) -> str:
    """The innermost reason: requests wraps it in two exceptions that repeat the URL."""
    while (inner := getattr(error, "reason", None) or (error.args[0] if error.args else None)) is not None:
        if not isinstance(inner, BaseException):
            break
        error = inner
    return f"{type(error).__name__}: {error}"
