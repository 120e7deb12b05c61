"""The history of a folder: record files and their index."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from pytest_disagg.records.record import Record, Value
from pytest_disagg.store.documents import identity
from pytest_disagg.store.index import FILE_NAME, Index, Stale
from pytest_disagg.store.truth import Truth, belongs, imported_name, may_hold
from pytest_disagg.verdict.history import HistoryError, SeriesKey

T = TypeVar("T")
WAIT_S = 10.0
"""How long to wait for other processes that write the index."""
SYNC_S = 20.0
"""How long record files may be read that the index does not know yet, before that is an error."""


class LocalHistory:
    """The history below a folder; a context manager. Every method raises HistoryError where it cannot be read.

    Its index is brought up to date first, within ``sync_s`` seconds. A folder that is not there is an empty history and
    is not made. A broken index is built anew; one that cannot be written (a read-only folder, a file system without
    locks) is replaced by one in memory. ``notes`` says either, and which files are broken.
    """

    def __init__(self, path: Path, *, sync_s: float = SYNC_S, wait_s: float = WAIT_S) -> None:
        self.path = path
        self.truth = Truth.of(path)
        self.notes: list[str] = []
        self.unreachable = ""
        self.broken: dict[str, str] = {}
        self._wait_s = wait_s
        self._index = self._open(time.monotonic() + sync_s)

    def __enter__(self) -> LocalHistory:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._index.close()

    def _open(self, until: float) -> Index:
        if not self.truth.path.exists():
            return Index(None, wait_s=self._wait_s)
        place = self.path / FILE_NAME
        try:
            return self._synced(Index(place, wait_s=self._wait_s), until)
        except (Stale, sqlite3.DatabaseError) as error:
            if isinstance(error, sqlite3.OperationalError):
                return self._in_memory(until, error)
            self.notes.append(f"{place}: {error}: built anew from {self.truth.path}")
        try:
            build(self.path, until=until)
            return self._synced(Index(place, wait_s=self._wait_s), until)
        except (Stale, sqlite3.Error, OSError) as error:
            return self._in_memory(until, error)

    def _synced(self, index: Index, until: float) -> Index:
        try:
            self.broken = index.sync(self.truth, until=until)
        except BaseException:
            index.close()
            raise
        for name, reason in self.broken.items():
            self.notes.append(f"not part of the history: {name}: {reason}")
        return index

    def _in_memory(self, until: float, error: Exception) -> Index:
        self.notes.append(f"{self.path / FILE_NAME} cannot be used ({error}): the record files were read instead")
        return self._synced(Index(None, wait_s=self._wait_s), until)

    def series(self, key: SeriesKey) -> Sequence[Record]:
        """Every record of that key, oldest ``ts_created`` first.

        Raises:
            HistoryError: it cannot be read, or a file that may belong to it is broken.
        """
        for name, reason in self.broken.items():
            if may_hold(name, key.case):
                raise HistoryError(f"{reason} (remove {self.truth.path / name} to go on without it)")
        return self._ask(lambda: self._index.series(key))

    def summary(self) -> list[tuple[SeriesKey, int, int]]:
        """Every series with its number of records and the time of its newest one (epoch milliseconds)."""
        return self._ask(self._index.summary)

    def find(self, *, run_id: str = "", record_id: str = "") -> list[Record]:
        """The records of one run, or those whose id starts with ``record_id``."""
        return self._ask(lambda: self._index.find(run_id=run_id, record_id=record_id))

    def everything(self) -> Iterator[Record]:
        """All records, oldest first."""
        try:
            yield from self._index.everything()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except sqlite3.Error as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> HistoryError:
        return HistoryError(f"{self.path / FILE_NAME}: cannot be read: {error} (disagg history rebuild makes it anew)")

    def take_in(self, found: Iterable[Mapping[str, Value]]) -> int:
        """Keep records of other origin, once each however often they come; how many of them were new.

        Raises:
            HistoryError: they cannot be written.
        """
        belonging = {identity(record): record for record in found if belongs(record)}
        known = self._ask(lambda: self._index.known(belonging))
        new = [record for key, record in belonging.items() if key not in known]
        if new:
            self.notes += keep(self.path, imported_name(new), new, wait_s=self._wait_s)
        return len(new)


def keep(path: Path, name: str, found: Sequence[Mapping[str, Value]], *, wait_s: float = WAIT_S) -> list[str]:
    """Keep records in a file of that name, then in the index; what a person should know about it.

    An index that cannot be written now takes the file in when it is opened next.

    Raises:
        HistoryError: the file cannot be written.
    """
    Truth.of(path).put(name, found)
    place = path / FILE_NAME
    try:
        with closing(Index(place, wait_s=wait_s)) as index:
            index.add({name: found})
    except (Stale, sqlite3.Error) as error:
        return [f"{place}: not written now ({error}); the records are taken in when it is opened next"]
    return []


def build(path: Path, *, until: float = float("inf")) -> tuple[int, dict[str, str]]:
    """Make the index anew from the record files, and put it in the place of the old one when it is whole.

    Returns the number of records in it and which files could not be read, and why.

    Raises:
        HistoryError: the folder cannot be read, or not until then (``time.monotonic()``).
        OSError, sqlite3.Error: the index cannot be written.
    """
    path.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{FILE_NAME}.", dir=path) as folder:
        place = Path(folder) / FILE_NAME
        index = Index(place, wait_s=WAIT_S)
        try:
            broken = index.sync(Truth.of(path), until=until)
            count = sum(records for _, records, _ in index.summary())
        finally:
            index.close()
        _put_in_place(place, path / FILE_NAME)
    return count, broken


def _put_in_place(new: Path, place: Path) -> None:
    """Replace an index that others may be using. A journal of the old one would be played into the new one."""
    with closing(sqlite3.connect(place, timeout=WAIT_S, isolation_level=None)) as old:
        try:
            # Whoever waits for this lock finds the file gone afterwards, which SQLite sees before it writes.
            old.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            pass  # what is no database has no transaction to wait for
        place.with_name(f"{place.name}-journal").unlink(missing_ok=True)
        new.replace(place)
