"""Indexes and what is in them: one a year, typed by the prefix of each field, behind aliases.

``<name>-v<schema>-<year>`` has the aliases ``<name>-<year>`` and ``<name>``; the latter is what is searched. A later
schema gets indexes of its own beside the old ones, under the same aliases.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from pytest_disagg.records.record import SCHEMA_VERSION

_TYPES: tuple[tuple[str, dict[str, Any]], ...] = (
    # Longer texts stay in the document and are not searchable; a keyword of more than 32 766 bytes would refuse it.
    ("s_", {"type": "keyword", "ignore_above": 8191}),
    ("l_", {"type": "long", "coerce": False}),
    ("d_", {"type": "double"}),
    ("b_", {"type": "boolean"}),
    ("ts_", {"type": "date", "format": "epoch_millis"}),
)


def mappings() -> dict[str, Any]:
    """The mapping of every field by its prefix; a field without one is stored and not indexed."""
    return {
        "dynamic": True,
        "date_detection": False,
        "numeric_detection": False,
        "_meta": {"schema_version": SCHEMA_VERSION},
        "properties": {"@timestamp": {"type": "date", "format": "epoch_millis"}},
        "dynamic_templates": [
            *({f"prefix_{prefix}": {"match": f"{prefix}*", "mapping": mapping}} for prefix, mapping in _TYPES),
            {"no_prefix": {"match": "*", "mapping": {"type": "object", "enabled": False}}},
        ],
    }


def template(name: str) -> dict[str, Any]:
    """The index template of a name."""
    return {
        "index_patterns": [f"{name}-v{SCHEMA_VERSION}-*"],
        "version": SCHEMA_VERSION,
        "priority": 200,
        "template": {
            "settings": {"index": {"mapping": {"total_fields": {"limit": 2000}}}},
            "mappings": mappings(),
            "aliases": {name: {}},
        },
    }


def index_name(name: str, created_ms: int) -> str:
    """The index that a document of that moment belongs to: by its own time, so that a repeat finds itself."""
    return f"{name}-v{SCHEMA_VERSION}-{_year(created_ms)}"


def year_alias(name: str, index: str) -> str:
    """``<name>-<year>`` of an index of that name."""
    return f"{name}-{index.rpartition('-')[2]}"


def _year(created_ms: int) -> int:
    return datetime.fromtimestamp(created_ms / 1000, timezone.utc).year
