"""``<history>/spool/<store>/``: records that a store does not have yet, one file per run and case.

A file is there before the first attempt to send it, and goes when the store has all of it: a process that dies in
between loses nothing. What is sent twice is stored once, so two processes may empty a spool at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.errors import ConfigError
from pytest_disagg.records import record as records
from pytest_disagg.records.record import Value
from pytest_disagg.rundir.files import write_text
from pytest_disagg.rundir.layout import safe_name
from pytest_disagg.store.documents import document
from pytest_disagg.store.protocol import Sent, Store, StoreError
from pytest_disagg.store.truth import SUFFIX, belongs, lines_of
from pytest_disagg.verdict.history import HistoryError


@dataclass(frozen=True)
class Uploaded:
    """What became of a spool. ``problems`` are one line each; ``left`` is the number of files still in it."""

    store: str
    sent: Sent
    problems: tuple[str, ...]
    left: int

    @property
    def ok(self) -> bool:
        return not self.problems and not self.left

    def words(self) -> str:
        """One line: how many were stored, known, refused, and what is left."""
        sent = self.sent
        counts = [f"{sent.stored} stored"]
        counts += [f"{sent.known} there already"] if sent.known else []
        counts += [f"{len(sent.rejected)} refused"] if sent.rejected else []
        counts += [f"{len(sent.left_out)} fields left out"] if sent.left_out else []
        counts += [f"{self.left} files still to be sent (disagg upload)"] if self.left else []
        return f"{self.store}: {', '.join(counts)}"


@dataclass(frozen=True)
class Spool:
    """The spool of one store."""

    path: Path

    @classmethod
    def of(cls, history: Path, store: str) -> Spool:
        return cls(history / "spool" / safe_name(store))

    def put(self, name: str, found: Iterable[Mapping[str, Value]]) -> Path:
        """Note that these records are to be sent.

        Raises:
            HistoryError: the folder cannot be written.
        """
        path = self.path / name
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_text(path, lines_of(found))
        except OSError as error:
            raise HistoryError(f"{path}: cannot be written: {error.strerror or error}") from error
        return path

    def pending(self) -> list[Path]:
        """The files that are to be sent, in the order of their names.

        Raises:
            HistoryError: the folder cannot be read.
        """
        try:
            return sorted(path for path in self.path.iterdir() if path.suffix == SUFFIX and path.name[0] != ".")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise HistoryError(f"{self.path}: cannot be read: {error.strerror or error}") from error

    def send(self, name: str, store: Store, paths: Sequence[Path], *, until: float) -> Uploaded:
        """Send these files. What the store refuses stays in its file, so that the next attempt tries it again.

        Raises:
            HistoryError: a file cannot be written.
        """
        total, problems, left = Sent(), [], 0
        for position, path in enumerate(paths):
            if time.monotonic() >= until:
                problems.append(f"{store.where()}: no time is left to send the rest")
                left += len(paths) - position
                break
            try:
                sent = self._send(store, path, until)
            except StoreError as error:
                # Whatever kept the store from taking this one keeps it from the next ones.
                problems.append(str(error))
                left += len(paths) - position
                break
            except ConfigError as error:
                if not path.exists():
                    continue  # another process has sent it meanwhile
                problems += [str(problem) for problem in error.problems]
                left += 1
                continue
            total += sent
            left += bool(sent.rejected)
            problems += [f"{path.name}: document {each.id[:12]} refused: {each.reason}" for each in sent.rejected]
        return Uploaded(name, total, tuple(problems), left)

    def _send(self, store: Store, path: Path, until: float) -> Sent:
        if not path.exists():
            return Sent()  # another process was faster
        found = [record for record in records.read(path) if belongs(record)]
        documents = [document(record) for record in found]
        sent = store.send(documents, until=until)
        refused = {each.id for each in sent.rejected}
        try:
            if refused:
                kept = [record for record, each in zip(found, documents, strict=True) if each.id in refused]
                write_text(path, lines_of(kept))
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise HistoryError(f"{path}: cannot be written: {error.strerror or error}") from error
        return sent
