"""The test ids that config directories offer. What pytest's collection calls; nothing here imports pydantic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.config.lookup import ConfigFiles, twice
from pytest_disagg.config.scan import Scan, scan
from pytest_disagg.errors import Problem

BROKEN = "broken-"
"""What the id of a case begins with that only exists to fail: its file cannot be read as any case."""


@dataclass(frozen=True)
class Listed:
    """One test id. With a ``problem``, the case exists so that somebody sees the problem: it fails with it."""

    id: str
    path: Path
    problem: Problem | None = None

    @property
    def error(self) -> bool:
        return self.problem is not None


def list_cases(dirs: Sequence[Path]) -> list[Listed]:
    """Every id of every file, in file order. Modifiers and the older grammar are accepted, never listed.

    A file that offers nothing because it is broken, and a name or an id that exists twice, is one failing case each.
    """
    listed: dict[str, Listed] = {}
    for paths in ConfigFiles(dirs).by_stem.values():
        for case in (_broken(paths[0], twice(paths)),) if len(paths) > 1 else _of_scan(paths[0], scan(paths[0])):
            _add(listed, case)
    return list(listed.values())


def ids_of(path: Path) -> list[Listed]:
    """The ids that one file offers, as :func:`list_cases` gives them; none for a cluster file."""
    return list(_of_scan(path, scan(path)))


def _of_scan(path: Path, found: Scan) -> Iterable[Listed]:
    if found.problem is not None:
        yield _broken(path, found.problem)
        return
    # A file of our own with one server: the bare id and the server's are the same case.
    servers = () if found.cases is not None and len(found.servers) == 1 else tuple(dict.fromkeys(found.servers))
    stem = path.stem
    for name in found.offered:
        yield Listed(f"{name}-{stem}", path)
        for server in servers:
            yield Listed(f"{name}-{stem}-{server}", path)


def _broken(path: Path, problem: Problem) -> Listed:
    return Listed(f"{BROKEN}{path.stem}", path, problem)


def _add(listed: dict[str, Listed], case: Listed) -> None:
    """Keep one case an id: the longer file name has it, and the other file's loss is a failing case of its own."""
    other = listed.get(case.id)
    if other is None:
        listed[case.id] = case
        return
    keeps, loses = (other, case) if len(other.path.stem) >= len(case.path.stem) else (case, other)
    listed[keeps.id] = keeps
    found = f"the test id {keeps.id!r}, which means {keeps.path}"
    broken = _broken(loses.path, Problem(loses.path, None, "", found, "an id of its own; rename a file or a server"))
    listed.setdefault(broken.id, broken)
