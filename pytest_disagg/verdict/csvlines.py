"""A CSV file as lines that can be changed cell by cell: comments, order, quoting and line ends of the rest stay."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.errors import ConfigError, Problem

_CELL = re.compile(r'[ \t]*(?:"((?:[^"]|"")*)"[ \t]*|([^",]*))(?=,|$)')


@dataclass(frozen=True)
class Cell:
    """A cell's value, and the part of the line it stands in (quotes included)."""

    value: str
    start: int
    end: int


@dataclass(frozen=True)
class Line:
    """One line; ``cells`` is empty for a comment (``#`` first) or a blank line. ``number`` counts from 1."""

    number: int
    text: str
    ending: str
    cells: tuple[Cell, ...] = ()

    def with_cells(self, values: Mapping[int, str]) -> str:
        """The line's text with some cells (by index) replaced."""
        text = self.text
        for index in sorted(values, reverse=True):
            cell = self.cells[index]
            text = text[: cell.start] + quoted(values[index]) + text[cell.end :]
        return text


def quoted(value: str) -> str:
    """``value`` as a CSV cell."""
    return '"' + value.replace('"', '""') + '"' if re.search(r'[",\n]', value) or value.startswith("#") else value


def read_text(path: Path) -> str:
    """The file's text with its line ends.

    Raises:
        ConfigError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError([Problem(path, None, "", error.strerror or str(error), "a baseline CSV")]) from error
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#x} at offset {error.start}"
        raise ConfigError([Problem(path, None, "", found, "UTF-8 text")]) from error


def split_lines(path: Path, text: str) -> list[Line]:
    """The lines of a CSV text.

    Raises:
        ConfigError: lines with a quote that does not close (a cell never spans lines here); all of them.
    """
    lines: list[Line] = []
    problems = []
    for number, raw in enumerate(text.split("\n"), start=1):
        ending = "\n" if number <= text.count("\n") else ""
        if raw.endswith("\r"):
            raw, ending = raw[:-1], "\r" + ending
        body = raw.lstrip("\ufeff")
        if not body.strip() or body.lstrip().startswith("#"):
            lines.append(Line(number, raw, ending))
            continue
        cells = _cells(raw, len(raw) - len(body))
        if cells is None:
            problems.append(Problem(path, number, "", f"{raw[:60]!r}", "a CSV line, each quote closed"))
        else:
            lines.append(Line(number, raw, ending, cells))
    if problems:
        raise ConfigError(problems)
    return lines


def _cells(text: str, start: int) -> tuple[Cell, ...] | None:
    cells = []
    while True:
        found = _CELL.match(text, start)
        if found is None:
            return None
        if found[1] is not None:
            cells.append(Cell(found[1].replace('""', '"'), found.start(1) - 1, found.end(1) + 1))
        else:
            plain = found[2]
            inner = found.start(2)
            cells.append(Cell(plain.strip(), inner, inner + len(plain.rstrip())))
        if found.end() == len(text):
            return tuple(cells)
        start = found.end() + 1
