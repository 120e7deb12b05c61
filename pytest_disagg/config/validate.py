"""A loaded document against its schema: every problem of the file at once, each with its line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from pytest_disagg.config.ids import Kind
from pytest_disagg.config.names import server_names
from pytest_disagg.config.placeholders import is_placeholder
from pytest_disagg.config.scan import cases_problem
from pytest_disagg.config.schema import AggrFile, CaseFile, DisaggFile, Harness, ServerBlock
from pytest_disagg.config.text import closest, did_you_mean, one_of, shown
from pytest_disagg.config.yaml import Document, Key, dotted
from pytest_disagg.errors import ConfigError, Problem

_SIZE_SLIP_RATIO = 0.94
"""High enough that no key of TensorRT-LLM itself is taken for a slip of another (moe_tensor_parallel_size is 0.89)."""

_EXPECTED = {
    "greater_than": "a number greater than {gt:g}",
    "greater_than_equal": "a number of at least {ge:g}",
    "less_than": "a number below {lt:g}",
    "less_than_equal": "a number of at most {le:g}",
    "finite_number": "a finite number",
    "string_pattern_mismatch": "text of the form {pattern}",
    "literal_error": "one of {expected}",
    "too_short": "a list of at least {min_length}",
    "value_error": "{error}",
    "expected": "{expected}",
}
_EXPECTED_TYPE = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "model": "a mapping",
}


def validate(
    document: Document, data: Mapping[str, Any] | None = None, changed: Mapping[Key, str] | None = None
) -> DisaggFile | AggrFile:
    """The document as a model. ``data`` is its content after overrides, ``changed`` which option set which key.

    Raises:
        ConfigError: every problem there is, in the order of their lines.
    """
    content = document.data if data is None else data
    kind = _kind(document, content)
    model: type[DisaggFile | AggrFile] = DisaggFile if kind == "disagg" else AggrFile
    report = Report(document, changed or {})
    slips = list(_slips(model, content, ()))
    meant = {(*key, right) for key, _, right in slips}
    parsed: DisaggFile | AggrFile | None = None
    try:
        parsed = model.model_validate(content)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            # A misspelt key is unknown and the right one missing: one problem, not two.
            if detail["type"] != "missing" or detail["loc"] not in meant:
                report.add(*explain(detail, model))
    for key, word, right in slips:
        report.add((*key, word), f"the unknown key {word!r}", "a known key", f"did you mean {right!r}?")
    for key in changed or ():
        if (known := _unread(model, document, key)) is not None:
            report.add(key, f"the unknown key {key[-1]!r}", one_of(known), did_you_mean(str(key[-1]), known))
    if "cases" in content and (wrong := cases_problem(content["cases"], kind, document.path, None)):
        report.add(tuple(wrong.key.split(".")), wrong.found, wrong.expected, wrong.hint)
    if kind == "aggr":
        for key, name, first in _same_names(content):
            lines = " and ".join(str(document.line(k)) for k in (first, key))
            report.add(key, f"the name {name!r} twice (lines {lines})", "each name once")
    if report.problems or parsed is None:
        raise ConfigError(sorted(report.problems, key=lambda problem: problem.line or 0))
    return parsed


class Report:
    """Collects the problems of one document (None: no file). ``changed`` says which option set a key."""

    def __init__(self, document: Document | None, changed: Mapping[Key, str]) -> None:
        self._document = document
        self._changed = changed
        self.problems: list[Problem] = []

    def add(self, key: Key, found: str, expected: str, hint: str = "") -> None:
        option = next((text for prefix, text in self._changed.items() if key[: len(prefix)] == prefix), None)
        path, line = None, None
        if self._document is not None:
            path = self._document.path
            line = self._document.line(key) if option is None else None
        hints = "; ".join(part for part in (hint, f"set by {option}" if option else "") if part)
        problem = Problem(path, line, dotted(key), found, expected, hints)
        if problem not in self.problems:
            self.problems.append(problem)


def _kind(document: Document, content: Mapping[str, Any]) -> Kind:
    disagg, aggr = "worker_config" in content, "server_configs" in content
    if disagg != aggr:
        return "disagg" if disagg else "aggr"
    found = "both worker_config and server_configs" if disagg else "neither worker_config nor server_configs"
    known = (*DisaggFile.model_fields, *AggrFile.model_fields)
    hint = "" if disagg else next((hint for key in content if (hint := did_you_mean(str(key), known, 0.8))), "")
    line = document.line(("server_configs",)) if disagg else 1
    raise ConfigError([Problem(document.path, line, "", found, "one of them at the top level", hint)])


def explain(detail: ErrorDetails, model: type[BaseModel]) -> tuple[Key, str, str, str]:
    """One of pydantic's errors as key, what was found, what was expected, hint."""
    key: Key = detail["loc"]
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "missing":
        return key, "nothing", _wanted(model, key), ""
    if kind == "extra_forbidden":
        known = _known_keys(_model_at(model, key[:-1]))
        return key, f"the unknown key {key[-1]!r}", one_of(known), did_you_mean(str(key[-1]), known)
    found = context.get("found") or shown(value)
    if is_placeholder(value):
        found += " (a placeholder that nothing fills)"
    template = _EXPECTED.get(kind) or _EXPECTED_TYPE.get(kind.split("_")[0])
    expected = template.format(**context) if template else detail["msg"]
    if kind == "literal_error" and isinstance(value, str):
        words = [word.strip(" '") for word in context["expected"].replace(" or ", ",").split(",")]
        return key, found, expected, did_you_mean(value, words)
    return key, found, expected, ""


def _wanted(model: type[BaseModel], key: Key) -> str:
    parent = _model_at(model, key[:-1])
    field = parent.model_fields.get(str(key[-1])) if parent else None
    if field is not None and field.description:
        return f"a value: {field.description}"
    return "a mapping" if field is not None and _model_of(field) else "a value"


def _model_at(model: type[BaseModel], key: Key) -> type[BaseModel] | None:
    """The model of the block at ``key``; None where that is no block of a known shape."""
    current: type[BaseModel] | None = model
    for part in key:
        if isinstance(part, int):
            continue
        field = current.model_fields.get(part) if current else None
        current = _model_of(field) if field else None
    return current


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    return _first_model(field.annotation)


def _first_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _first_model(part))), None)


def _known_keys(model: type[BaseModel] | None) -> tuple[str, ...]:
    """Every key the block may have that somebody is known to read, in the schema's order."""
    if model is None:
        return ()
    inherited = (base.also_known for base in model.__mro__ if issubclass(base, Harness))
    return (*model.model_fields, *dict.fromkeys(key for keys in inherited for key in keys))


def _slips(model: type[BaseModel], data: Any, key: Key) -> Iterator[tuple[Key, str, str]]:
    """Unknown keys that are nearly a known one, as (key of the block, the word, the known key)."""
    if isinstance(data, list):
        for index, item in enumerate(data):
            yield from _slips(model, item, (*key, index))
        return
    if not isinstance(data, Mapping):
        return
    ratio = model.slip_ratio if issubclass(model, Harness) else _SIZE_SLIP_RATIO
    known: tuple[str, ...] = ()
    if issubclass(model, Harness):
        known = _known_keys(model)
    elif issubclass(model, ServerBlock):
        known = model.sizes
    for word, value in data.items():
        field = model.model_fields.get(str(word))
        if field is not None:
            inner = _model_of(field)
            if inner is not None:
                yield from _slips(inner, value, (*key, str(word)))
        elif known and (meant := closest(str(word), known, ratio)):
            yield key, str(word), meant


def _unread(model: type[BaseModel], document: Document, key: Key) -> tuple[str, ...] | None:
    """The known keys beside an override that nothing would read: one that neither the schema nor the file has."""
    block = _model_at(model, key[:-1])
    if block is None or not issubclass(block, Harness) or document.has(key):
        return None
    known = _known_keys(block)
    slip = closest(str(key[-1]), known, block.slip_ratio)
    return None if key[-1] in known or slip else known


def _same_names(content: Mapping[str, Any]) -> Iterator[tuple[Key, str, Key]]:
    """Names of servers, and of loads of one server, that come twice: they would share files and records."""
    servers = content.get("server_configs")
    if not isinstance(servers, list) or not all(isinstance(server, Mapping) for server in servers):
        return
    yield from _repeated(list(server_names(content)), ("server_configs",))
    for index, server in enumerate(servers):
        clients = server.get("client_configs")
        if isinstance(clients, list):
            names = [str(client.get("name") or "") for client in clients if isinstance(client, Mapping)]
            yield from _repeated(names, ("server_configs", index, "client_configs"))


def _repeated(names: list[str], key: Key) -> Iterator[tuple[Key, str, Key]]:
    for index, name in enumerate(names):
        if name and (first := names.index(name)) < index:
            yield (*key, index, "name"), name, (*key, first, "name")


def case_file_keys() -> tuple[str, ...]:
    """The top-level keys of either kind of file."""
    return tuple(dict.fromkeys((*_known_keys(DisaggFile), *_known_keys(AggrFile), *CaseFile.model_fields)))
