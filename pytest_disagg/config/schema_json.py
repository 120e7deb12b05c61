"""JSON Schema of case files, for editors (``# yaml-language-server: $schema=...``)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic.json_schema import models_json_schema

from pytest_disagg.config.schema import AggrFile, DisaggFile

FileKind = Literal["disaggregated", "aggregated"]
FILE_KINDS: dict[FileKind, type[DisaggFile | AggrFile]] = {"disaggregated": DisaggFile, "aggregated": AggrFile}

_DRAFT = {"$schema": "https://json-schema.org/draft/2020-12/schema"}


def json_schema(kind: FileKind | None = None) -> dict[str, Any]:
    """The schema (draft 2020-12) of one kind of file, or of either: which one is told by the keys that it requires."""
    if kind is not None:
        schema = FILE_KINDS[kind].model_json_schema(mode="validation")
        _allow_null(schema)
        return {**_DRAFT, **schema}
    models = list(FILE_KINDS.values())
    references, definitions = models_json_schema([(model, "validation") for model in models], title="A case file")
    for model in models:
        _allow_null(definitions["$defs"][model.__name__])
    return {**_DRAFT, **definitions, "anyOf": [references[(model, "validation")] for model in models]}


def _allow_null(schema: dict[str, Any]) -> None:
    """A section whose key stands alone in YAML (``timeouts:``) is null, and read as empty."""
    for name, section in schema["properties"].items():
        if "$ref" in section and name not in schema["required"]:
            section["anyOf"] = [{"$ref": section.pop("$ref")}, {"type": "null"}]
