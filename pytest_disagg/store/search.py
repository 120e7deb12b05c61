"""The search that both back ends understand: filters, a total order, pages after one another without a limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pytest_disagg.records.record import Record
from pytest_disagg.store.documents import ID_FIELD, from_document
from pytest_disagg.store.protocol import StoreError, Term, Wanted

PAGE = 1000
_ORDER: tuple[tuple[str, str, str | int], ...] = (
    # Documents of other tools have no id of their own; the fields after it tell those of one moment apart.
    ("ts_created", "date", 0),
    (ID_FIELD, "keyword", ""),
    ("s_test_case_name", "keyword", ""),
    ("l_concurrency", "long", 0),
    ("s_build_id", "keyword", ""),
)


def body(wanted: Wanted, after: list[Any] | None) -> dict[str, Any]:
    """The JSON of one page of a search."""
    filters: list[dict[str, Any]] = [_term(name, value) for name, value in wanted.terms.items()]
    moment = {name: value for name, value in (("gte", wanted.since_ms), ("lt", wanted.until_ms)) if value is not None}
    if moment:
        filters.append({"range": {"ts_created": {**moment, "format": "epoch_millis"}}})
    found: dict[str, Any] = {
        "size": PAGE,
        "query": {"bool": {"filter": filters}},
        "sort": [{name: {"order": "asc", "missing": missing, "unmapped_type": kind}} for name, kind, missing in _ORDER],
    }
    return found if after is None else {**found, "search_after": after}


def _term(name: str, value: Term) -> dict[str, Any]:
    """A field's value. False and empty are also what a document says that does not have the field."""
    if value is False or value == "":
        absent = {"bool": {"must_not": {"exists": {"field": name}}}}
        return {"bool": {"should": [{"term": {name: value}}, absent], "minimum_should_match": 1}}
    return {"terms": {name: list(value)}} if isinstance(value, tuple) else {"term": {name: value}}


def pages(ask: Callable[[dict[str, Any]], Mapping[str, Any]], wanted: Wanted, where: str) -> Iterator[Record]:
    """Every record that is wanted, oldest first; ``ask`` sends one body and returns the answer's JSON.

    Raises:
        StoreError: an answer is no search result, or not of all shards.
    """
    after: list[Any] | None = None
    while True:
        answer = ask(body(wanted, after))
        hits = _hits(answer, where)
        for hit in hits:
            yield from_document(hit["_source"], str(hit.get("_id", "")))
        if len(hits) < PAGE:
            return
        after = hits[-1]["sort"]


def _hits(answer: Mapping[str, Any], where: str) -> list[Any]:
    shards = answer.get("_shards")
    failed = shards.get("failed", 0) if isinstance(shards, Mapping) else 0
    late = bool(answer.get("timed_out"))
    if failed or late:
        raise StoreError(f"{where}: the search is not complete: {failed} shards failed, timed out: {late}")
    found = answer.get("hits")
    hits = found.get("hits") if isinstance(found, Mapping) else None
    if not isinstance(hits, list):
        raise StoreError(f"{where}: found {str(answer)[:200]!r}, expected a search result")
    return hits
