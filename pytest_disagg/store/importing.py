"""Records out of files of any origin: records, dumps of a search index, perf CSVs, ``perf_data.yaml``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.records.record import Record, typed
from pytest_disagg.store.csvfile import read_csv
from pytest_disagg.store.documents import from_document
from pytest_disagg.store.truth import belongs

_EXPECTED = "records or documents: JSON, JSON lines, YAML, or a CSV of perf results"


def read_file(path: Path) -> tuple[list[Record], list[str]]:
    """The records of a file, told by its suffix (``.csv``, ``.yaml``; anything else is JSON), and what was not used.

    JSON is one record or document a line, a list of them, or the answer of a search.

    Raises:
        ConfigError: it cannot be read.
    """
    if path.suffix == ".csv":
        return read_csv(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(path, None, "", str(error), _EXPECTED)]) from error
    found = _yaml(path, text) if path.suffix in (".yaml", ".yml") else _json(path, text)
    return [record for value in found for record in _records(path, value)], []


def completed(records: Iterable[Record], fields: Mapping[str, str], origin: str) -> tuple[list[Record], list[str]]:
    """The records that can be history, with ``fields`` where they lack them, and how many cannot be, and why."""
    kept, timeless, others = [], 0, 0
    for record in records:
        whole = typed({**fields, **record}) if fields else record
        if not belongs(whole):
            others += 1
        elif not whole.get("ts_created"):
            timeless += 1
        else:
            kept.append(whole)
    notes = []
    if others:
        notes.append(f"{origin}: {others} records are no history (invalid, a rehearsal, or of no case)")
    if timeless:
        notes.append(f"{origin}: {timeless} records do not say when they were made (ts_created or @timestamp)")
    return kept, notes


def _yaml(path: Path, text: str) -> Iterator[Any]:
    import yaml

    try:
        yield yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError([Problem(path, None, "", " ".join(str(error).split()), _EXPECTED)]) from error


def _json(path: Path, text: str) -> Iterator[Any]:
    try:
        yield json.loads(text)
    except ValueError:
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    value = json.loads(line)
                except ValueError as error:
                    raise ConfigError([Problem(path, number, "", str(error), _EXPECTED)]) from error
                yield value


def _records(path: Path, value: Any) -> Iterator[Record]:
    """The records in a decoded value: a document, ``{"_id":, "_source":}``, ``{"new_data":}``, or lists of those."""
    if isinstance(value, list):
        for each in value:
            yield from _records(path, each)
        return
    if not isinstance(value, Mapping):
        raise ConfigError([Problem(path, None, "", f"{type(value).__name__} {str(value)[:40]!r}", _EXPECTED)])
    hits = value.get("hits")
    if isinstance(hits, (Mapping, list)):
        yield from _records(path, hits.get("hits", []) if isinstance(hits, Mapping) else hits)
    elif isinstance(value.get("_source"), Mapping):
        yield from_document(value["_source"], str(value.get("_id", "")))
    elif isinstance(value.get("new_data"), Mapping):
        yield from _records(path, value["new_data"])
    else:
        yield from_document(value, str(value.get("_id", "")))
