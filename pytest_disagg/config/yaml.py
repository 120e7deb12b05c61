"""YAML files: safe loading with the C parser, duplicate keys refused, lines found when somebody asks for them.

Values resolve as PyYAML resolves them (YAML 1.1), since that is what existing files were written against, with one
exception: base-60 numbers stay text. ``job_time: 2:00:00`` would otherwise load as 7200, which Slurm reads as minutes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pytest_disagg.config.text import shown
from pytest_disagg.errors import ConfigError, Problem

try:
    from yaml import CSafeLoader as _Base
except ImportError:  # PyYAML built without libyaml
    from yaml import SafeLoader as _Base  # type: ignore[assignment]

Key = tuple["str | int", ...]
"""Where a value lies in a document: mapping keys and list indices from the root."""

SyntaxErrors = (yaml.YAMLError, ValueError)
"""What parsing may raise; ValueError for a scalar that looks like a date or a number and is none (``2024-13-45``)."""

_INT, _FLOAT = "tag:yaml.org,2002:int", "tag:yaml.org,2002:float"
_MERGE = "tag:yaml.org,2002:merge"
# Anchors let a short file describe a document too large to walk; no config is near this many nodes.
_MAX_NODES = 200_000


class Loader(_Base):
    """Safe loader of every YAML text of this package."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, regex) for tag, regex in resolvers if tag not in (_INT, _FLOAT)]
    for first, resolvers in _Base.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"""^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+][0-9]+)?
        |\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?
        |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
        re.VERBOSE,
    ),
    list("-+0123456789."),
)
Loader.add_implicit_resolver(
    _INT,
    re.compile(r"^(?:[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+)$"),
    list("-+0123456789"),
)


@dataclass(frozen=True)
class Document:
    """A loaded file whose root is a mapping. ``data`` belongs to this object: change a copy."""

    path: Path
    data: dict[str, Any]
    root: yaml.Node

    def line(self, key: Sequence[str | int]) -> int | None:
        """The line (from 1) of the key, or of the nearest of its parents that the file has; None for the whole file."""
        node: yaml.Node = self.root
        line: int | None = None
        for part in key:
            found = _child(node, part)
            if found is None:
                break
            line, node = found
        return line

    def has(self, key: Sequence[str | int]) -> bool:
        """Whether the file itself has that key."""
        node = self.root
        for part in key:
            found = _child(node, part)
            if found is None:
                return False
            node = found[1]
        return True


def load(path: Path) -> Document:
    """Read and parse one file.

    Raises:
        ConfigError: unreadable, broken YAML, duplicate keys (all of them, with both lines), root not a mapping.
    """
    return parse(read(path), path)


def read(path: Path) -> bytes:
    """The file's bytes, or a :class:`ConfigError` that says why there are none."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError([Problem(path, None, "", error.strerror or str(error), "a readable YAML file")]) from error


def parse(text: bytes, path: Path) -> Document:
    """Parse what was read from ``path``; errors as :func:`load`."""
    loader: Any = None
    root: yaml.Node | None = None
    try:
        loader = Loader(text)
        root = loader.get_single_node()
        if root is not None:
            problems = list(_structure_problems(root, path))
            if problems:
                raise ConfigError(problems)
        data = loader.construct_document(root) if root is not None else None
    except SyntaxErrors as error:
        raise ConfigError([_bad_scalar(root, path) or _syntax_problem(error, path, text)]) from error
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(data, dict):
        found = "an empty file" if data is None else shown(data)
        raise ConfigError([Problem(path, 1, "", found, "a mapping with worker_config or server_configs")])
    return Document(path, data, root)


def parse_value(text: str) -> Any:
    """One value as a file would hold it (``1`` is a number, ``1,2`` text, ``[1, 2]`` a list).

    Raises:
        yaml.YAMLError | ValueError: not YAML (:data:`SyntaxErrors`).
    """
    return Loader(text).get_single_data()


def check_syntax(text: bytes, path: Path) -> Problem | None:
    """What makes the text no YAML, None when it parses. Builds no objects: about 20 microseconds per kilobyte."""
    try:
        loader = Loader(text)
        if hasattr(loader, "raw_parse"):
            loader.raw_parse()
        else:
            while loader.check_event():
                loader.get_event()
    except yaml.YAMLError as error:
        return _syntax_problem(error, path, text)
    return None


def dotted(key: Sequence[str | int]) -> str:
    """``server_configs.0.name``."""
    return ".".join(map(str, key))


def _syntax_problem(error: Exception, path: Path, text: bytes) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        found = f"{error.reason} at position {error.position}"
        return Problem(path, text.count(b"\n", 0, error.position) + 1, "", found, "YAML in UTF-8")
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(path, None, "", str(error), "valid YAML")
    mark = error.problem_mark or error.context_mark
    # No colon between them: "the next token: found ..." would be redacted as a token's value.
    words = ", ".join(part for part in (error.context, error.problem) if part)
    if error.context_mark is not None and mark is not None and error.context_mark.line != mark.line:
        words += f" (begun on line {error.context_mark.line + 1})"
    # What never ends is noticed behind the last line, where nobody can look.
    line = min(mark.line, max(0, len(text.splitlines()) - 1)) + 1 if mark else None
    hint = "indent with spaces" if mark and text[_offset(text, mark) :][:1] == b"\t" else ""
    return Problem(path, line, "", words, "valid YAML", hint)


def _offset(text: bytes, mark: yaml.Mark) -> int:
    """Where in the bytes a mark lies, for marks behind nothing but ASCII on their line."""
    start = 0
    for _ in range(mark.line):
        start = text.find(b"\n", start) + 1
    return start + mark.column


def _bad_scalar(root: yaml.Node | None, path: Path) -> Problem | None:
    """The scalar that looks like a date or a number and is none: PyYAML's own error does not say which one it is."""
    for key, node in _scalars(root, ()):
        builder = yaml.SafeLoader("")
        try:
            builder.construct_object(node)
        except ValueError:
            line = node.start_mark.line + 1
            return Problem(path, line, dotted(key), shown(node.value), "a number or a date, or text in quotes")
        except yaml.YAMLError:
            continue  # an unknown tag has its mark
        finally:
            builder.dispose()
    return None


def _scalars(node: yaml.Node | None, key: Key) -> Iterator[tuple[Key, yaml.ScalarNode]]:
    if isinstance(node, yaml.ScalarNode):
        yield key, node
    elif isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from _scalars(name, key)
            yield from _scalars(value, (*key, str(name.value)))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _scalars(item, (*key, index))


def _child(node: yaml.Node, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if key.tag == _MERGE:
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
            elif isinstance(key, yaml.ScalarNode) and key.value == str(part):
                return key.start_mark.line + 1, value
        return next((found for base in merged if (found := _child(base, part))), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line + 1, node.value[part]
    return None


def _structure_problems(root: yaml.Node, path: Path) -> Iterator[Problem]:
    """Duplicate keys, aliases that contain themselves, and anchors nested until the document is huge."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()
    problems: list[Problem] = []

    def size(node: yaml.Node, key: Key) -> int:
        if id(node) in open_nodes:
            line = node.start_mark.line + 1
            problems.append(Problem(path, line, dotted(key), "an alias inside its own anchor", "a finite value"))
            return 0
        if id(node) in sizes:
            return sizes[id(node)]
        open_nodes.add(id(node))
        total = 1
        if isinstance(node, yaml.MappingNode):
            problems.extend(_duplicates(node, key, path))
            total += sum(size(value, (*key, str(name.value))) for name, value in node.value)
        elif isinstance(node, yaml.SequenceNode):
            total += sum(size(item, (*key, index)) for index, item in enumerate(node.value))
        open_nodes.discard(id(node))
        sizes[id(node)] = total
        return total

    total = size(root, ())
    if total > _MAX_NODES:
        problems.append(Problem(path, None, "", f"{total} values after aliases", f"at most {_MAX_NODES}"))
    yield from problems


def _duplicates(node: yaml.MappingNode, parent: Key, path: Path) -> Iterator[Problem]:
    first: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        line = key.start_mark.line + 1
        name = (key.tag, key.value)
        if name in first:
            found = f"the key twice (lines {first[name]} and {line})"
            yield Problem(path, line, dotted((*parent, key.value)), found, "each key once")
        else:
            first[name] = line
