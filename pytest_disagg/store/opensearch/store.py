"""A real OpenSearch as a store: indexes on demand, bulks with ids of their own, an answer for each document."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_disagg.records.record import Record
from pytest_disagg.redact import redact
from pytest_disagg.store.batches import batches
from pytest_disagg.store.documents import Document, without
from pytest_disagg.store.opensearch.connect import PREFIX, Settings, connect
from pytest_disagg.store.opensearch.template import index_name, template, year_alias
from pytest_disagg.store.protocol import Rejected, Sent, StoreError, Wanted
from pytest_disagg.store.retry import PASSING, Passing, persist
from pytest_disagg.store.search import pages

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

T = TypeVar("T")
_FIELD = re.compile(r"(?:failed to parse field|object mapping for|mapper) \[([^\]]+)\]")
_MOST_FIELDS_REFUSED = 20


class OpenSearchType:
    """Entry point: what ``OPENSEARCH_URL`` selects."""

    def selected(self, environ: Mapping[str, str]) -> bool:
        return bool(environ.get(f"{PREFIX}URL"))

    def open(self, environ: Mapping[str, str]) -> OpenSearchStore:
        settings = Settings.of(environ)
        return OpenSearchStore(settings, connect(settings))


class OpenSearchStore:
    """The indexes behind the alias ``settings.index`` of one server."""

    def __init__(self, settings: Settings, client: OpenSearch) -> None:
        self._settings = settings
        self._client = client
        self._there: set[str] = set()

    def where(self) -> str:
        return f"{self._settings.url}/{self._settings.index}"

    def send(self, documents: Sequence[Document], *, until: float) -> Sent:
        total = Sent()
        by_index: dict[str, list[Document]] = {}
        for each in documents:
            by_index.setdefault(index_name(self._settings.index, each.created_ms), []).append(each)
        for index, found in by_index.items():
            self._make(index, until)
            for batch in batches(found):
                total += self._bulk(index, batch, until)
        return total

    def read(self, wanted: Wanted, *, until: float) -> Iterator[Record]:
        def ask(body: dict[str, Any]) -> Mapping[str, Any]:
            return self._persist(
                lambda timeout_s: self._client.search(
                    index=self._settings.index,
                    body=body,
                    params={"ignore_unavailable": "true", "request_timeout": timeout_s},
                ),
                until,
            )

        return pages(ask, wanted, self.where())

    def _make(self, index: str, until: float) -> None:
        """Make an index with its types and aliases, unless it is there."""
        if index in self._there:
            return
        name, indices = self._settings.index, self._client.indices
        if not self._persist(lambda t: indices.exists(index=index, params={"request_timeout": t}), until):
            self._persist(
                lambda t: indices.put_index_template(name=name, body=template(name), params={"request_timeout": t}),
                until,
            )
            aliases: dict[str, Any] = {"aliases": {year_alias(name, index): {}}}
            self._persist(
                # 400: another process made it between our question and this.
                lambda t: indices.create(index=index, body=aliases, params={"request_timeout": t, "ignore": 400}),
                until,
            )
        self._there.add(index)

    def _bulk(self, index: str, documents: Sequence[Document], until: float) -> Sent:
        """Send documents; those that the server is too busy for again, and those with a field it refuses without it."""
        total = Sent()
        waiting = {each.id: each for each in documents}
        answers = self._answers(index, waiting, until)
        while waiting:
            again = {}
            for key, each in waiting.items():
                status, reason = answers[key]
                if status in (200, 201):
                    total += Sent(stored=1, left_out=tuple(f"{key[:12]}: {words}" for words in each.left_out))
                elif status == 409:
                    total += Sent(known=1)
                elif (smaller := _smaller(each, status, reason)) is not None:
                    again[key] = smaller
                else:
                    total += Sent(rejected=(Rejected(key, redact(reason)),))
            waiting = again
            answers = self._answers(index, waiting, until) if waiting else {}
        return total

    def _answers(self, index: str, documents: Mapping[str, Document], until: float) -> dict[str, tuple[int, str]]:
        """Status and reason for each document. ``create`` leaves a document alone that is there already (409)."""
        answers: dict[str, tuple[int, str]] = {}

        def attempt(timeout_s: float) -> None:
            lines: list[dict[str, Any]] = []
            for key, each in documents.items():
                if key not in answers:
                    lines += [{"create": {"_id": key}}, {**each.body, "@timestamp": each.created_ms}]
            found = self._client.bulk(index=index, body=lines, params={"request_timeout": timeout_s})
            busy = ""
            for item in found["items"]:
                answer = item["create"]
                reason = _reason(answer.get("error"))
                if answer["status"] in PASSING:
                    busy = f"{answer['status']}: {reason}"
                else:
                    answers[answer["_id"]] = (answer["status"], reason)
            if busy:
                raise Passing(busy)

        self._persist(attempt, until)
        return answers

    def _persist(self, attempt: Callable[[float], T], until: float) -> T:
        def once(timeout_s: float) -> T:
            from opensearchpy import exceptions

            try:
                return attempt(timeout_s)
            except exceptions.SSLError as error:
                raise self._failed(error) from error
            except exceptions.ConnectionError as error:
                raise Passing(str(error.error)) from error
            except exceptions.TransportError as error:
                if error.status_code in PASSING:
                    raise Passing(_words(error)) from error
                raise self._failed(error) from error
            except (exceptions.SerializationError, KeyError, TypeError) as error:
                found = f"an answer that is none of OpenSearch ({type(error).__name__}: {str(error)[:200]})"
                raise StoreError(redact(f"{self.where()}: found {found}")) from error

        return persist(once, until=until, timeout_s=self._settings.timeout_s, what=self.where())

    def _failed(self, error: Any) -> StoreError:
        return StoreError(redact(f"{self.where()}: {_words(error)}"))


def _smaller(found: Document, status: int, reason: str) -> Document | None:
    """The document without the field that the server refused; None where it refused something else."""
    field = _FIELD.search(reason)
    refused = sum("refused" in words for words in found.left_out)
    if status != 400 or field is None or field[1] not in found.body or refused >= _MOST_FIELDS_REFUSED:
        return None
    return without(found, field[1], redact(reason))


def _reason(error: Any) -> str:
    """Type, reason and cause of an error in an answer."""
    if not isinstance(error, Mapping):
        return str(error or "")
    cause = error.get("caused_by")
    more = f": {cause['reason']}" if isinstance(cause, Mapping) and cause.get("reason") else ""
    return f"{error.get('type', '')}: {error.get('reason', '')}{more}"[:500]


def _words(error: Any) -> str:
    """Status and reason of a refused request."""
    info = error.info
    reason = _reason(info["error"]) if isinstance(info, Mapping) and "error" in info else str(error.error)
    hints = {401: "not authenticated", 403: "not allowed"}
    words = f"{error.status_code}: {' '.join(reason.split())[:300]}"
    return f"{words} ({hints[error.status_code]})" if error.status_code in hints else words
