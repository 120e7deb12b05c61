"""Records as documents of a search index, and documents of such an index as records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from pytest_disagg.records.record import Record, Value, document_id, typed

ID_FIELD = "s_document_id"
"""The document's id as a field of its own: ``_id`` cannot be sorted by."""

_PREFIXES = ("s_", "l_", "d_", "b_", "ts_")


def identity(record: Mapping[str, Value]) -> str:
    """The id of a record anywhere: its own field where it came from an index, else the hash of what it measured.

    A record of another tool that names no run is the hash of its whole content.
    """
    if own := record.get(ID_FIELD):
        return str(own)
    if record.get("s_run_id"):
        return document_id(record)
    return hashlib.sha256(json.dumps(dict(record), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Document:
    """What is sent. ``left_out`` says which fields of the record could not be cast to what their prefix promises."""

    id: str
    body: Record
    left_out: tuple[str, ...] = ()

    @property
    def created_ms(self) -> int:
        return int(self.body.get("ts_created", 0))


def document(record: Mapping[str, Any]) -> Document:
    """The document of a record: every value of its prefix's type (3 in a ``d_`` field becomes 3.0).

    A field that cannot be cast is left out of this document alone and named in its ``s_left_out``.
    """
    body = typed({name: value for name, value in record.items() if name.startswith(_PREFIXES)})
    found = str(body.get("s_left_out", ""))
    before = str(record.get("s_left_out", ""))
    new = () if found == before else tuple(found.split("; "))
    if new and before:
        body["s_left_out"] = f"{before}; {found}"
    key = identity(record)
    body[ID_FIELD] = key
    return Document(key, body, new)


def without(found: Document, field: str, reason: str) -> Document:
    """The document without a field that the server refused."""
    words = f"{field}: refused: {reason}"
    body = {name: value for name, value in found.body.items() if name != field}
    body["s_left_out"] = "; ".join(filter(None, (str(body.get("s_left_out", "")), words)))
    return Document(found.id, body, (*found.left_out, words))


def from_document(source: Mapping[str, Any], key: str = "") -> Record:
    """The record of an index's document, TensorRT-LLM's included; ``key`` is its ``_id``.

    Fields without a known prefix are dropped. Where the document has no ``ts_created``, ``@timestamp`` is it. One that
    names no engine and is not of this project is TensorRT-LLM's.
    """
    fields = {name: value for name, value in source.items() if name.startswith(_PREFIXES)}
    if "ts_created" not in fields and (moment := epoch_ms(source.get("@timestamp"))) is not None:
        fields["ts_created"] = moment
    elif isinstance(fields.get("ts_created"), str):
        fields["ts_created"] = epoch_ms(fields["ts_created"])
    if key and ID_FIELD not in fields:
        fields[ID_FIELD] = key
    if "l_schema_version" not in fields:
        fields.setdefault("s_engine", "trtllm")
    return typed(fields)


def epoch_ms(value: object) -> int | None:
    """Epoch milliseconds of a time as indexes and CSV files write it: those, or ISO 8601 (UTC if it says nothing)."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return int(value)
    if not isinstance(value, str):
        return None
    if value.isdigit():
        return int(value)
    try:
        moment = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp() * 1000)
