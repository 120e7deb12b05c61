"""``<history>/index.sqlite``: finds the records of a series without reading every file. Never the truth: rebuildable.

Several processes on several machines may use it: transactions are short, writers wait for each other, and there is no
write-ahead log, which needs shared memory that a network file system does not have.
"""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, fields
from itertools import islice
from pathlib import Path

from pytest_disagg.records.record import Record, Value
from pytest_disagg.store.documents import identity
from pytest_disagg.store.truth import Truth, belongs
from pytest_disagg.verdict.history import HistoryError, SeriesKey, created_ms

FILE_NAME = "index.sqlite"
_VERSION = 2
_FILES_PER_TRANSACTION = 200
_KEY = tuple(field.name for field in fields(SeriesKey))
_COLUMNS = ", ".join(f'"{name}"' for name in _KEY)
_SAME = " AND ".join(f'"{name}" = ?' for name in _KEY)
_TABLES = f"""
CREATE TABLE files (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE series (id INTEGER PRIMARY KEY, {_COLUMNS}, UNIQUE ({_COLUMNS}));
CREATE TABLE records (
    id TEXT NOT NULL UNIQUE,
    file INTEGER NOT NULL REFERENCES files (id),
    series INTEGER NOT NULL REFERENCES series (id),
    created_ms INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX records_of_series ON records (series, created_ms);
CREATE INDEX records_of_run ON records (run_id);
CREATE INDEX records_of_file ON records (file);
"""


class Stale(Exception):
    """An index of another layout, or of none: it has to be built anew."""


class Index:
    """An open index. ``path`` None keeps it in memory.

    Raises:
        sqlite3.Error: the file cannot be used; :class:`Stale` where it has to be built anew.
    """

    def __init__(self, path: Path | None, *, wait_s: float) -> None:
        self._db = sqlite3.connect(":memory:" if path is None else path, timeout=wait_s, isolation_level=None)
        try:
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        self._db.close()

    def _prepare(self) -> None:
        self._db.execute("PRAGMA synchronous = NORMAL")
        if self._version() == _VERSION:
            return
        with self._writing():
            if self._version() == _VERSION:  # another process was faster
                return
            if self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise Stale(f"layout {self._version()}, expected {_VERSION}")
            for statement in _TABLES.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def sync(self, truth: Truth, *, until: float) -> dict[str, str]:
        """Take in the files that are not indexed yet, forget those that are gone; what could not be read, and why.

        ``until`` is a ``time.monotonic()``.

        Raises:
            HistoryError: the folder cannot be read, or it takes longer than that.
        """
        there = truth.names()
        known = {str(name) for (name,) in self._db.execute("SELECT name FROM files")}
        broken: dict[str, str] = {}
        missing = iter(sorted(there - known))
        done = 0
        while names := list(islice(missing, _FILES_PER_TRANSACTION)):
            read: dict[str, list[Record]] = {}
            for name in names:
                try:
                    read[name] = truth.read(name)
                except HistoryError as error:
                    broken[name] = str(error)
                if time.monotonic() > until:
                    left = len(there - known) - done
                    raise HistoryError(
                        f"{truth.path}: {left} of {len(there)} files are not indexed yet and the time for it is over: "
                        "run disagg history rebuild"
                    )
            self.add(read)
            done += len(names)
        self._forget(known - there)
        return broken

    def add(self, files: Mapping[str, Iterable[Mapping[str, Value]]]) -> None:
        """Index the records of these files; a record that is known already counts once."""
        with self._writing():
            for name, records in files.items():
                cursor = self._db.execute("INSERT OR IGNORE INTO files (name) VALUES (?)", (name,))
                if cursor.rowcount:
                    self._insert(cursor.lastrowid, [record for record in records if belongs(record)])

    def _insert(self, file: int | None, records: Sequence[Mapping[str, Value]]) -> None:
        for record in records:
            key = astuple(SeriesKey.of(record))
            self._db.execute(
                f"INSERT OR IGNORE INTO series ({_COLUMNS}) VALUES ({', '.join('?' * len(key))})",
                key,
            )
            (series,) = self._db.execute(f"SELECT id FROM series WHERE {_SAME}", key).fetchone()
            body = zlib.compress(json.dumps(record, ensure_ascii=False).encode(), 1)
            self._db.execute(
                "INSERT OR IGNORE INTO records (id, file, series, created_ms, run_id, body) VALUES (?, ?, ?, ?, ?, ?)",
                (identity(record), file, series, created_ms(record), str(record.get("s_run_id", "")), body),
            )

    def _forget(self, names: Iterable[str]) -> None:
        for name in names:
            with self._writing():
                row = self._db.execute("SELECT id FROM files WHERE name = ?", (name,)).fetchone()
                if row is not None:
                    self._db.execute("DELETE FROM records WHERE file = ?", row)
                    self._db.execute("DELETE FROM files WHERE id = ?", row)

    def series(self, key: SeriesKey) -> list[Record]:
        """The records of one series, oldest first."""
        return self._bodies(
            f"SELECT body FROM records WHERE series = (SELECT id FROM series WHERE {_SAME}) ORDER BY created_ms, id",
            astuple(key),
        )

    def summary(self) -> list[tuple[SeriesKey, int, int]]:
        """Every series with its number of records and the time of its newest one (epoch milliseconds)."""
        rows = self._db.execute(
            f"SELECT {_COLUMNS}, count(*), max(created_ms) FROM records JOIN series ON series.id = records.series "
            f"GROUP BY series.id ORDER BY {_COLUMNS}"
        )
        return [(SeriesKey(*row[:-2]), row[-2], row[-1]) for row in rows]

    def find(self, *, run_id: str = "", record_id: str = "") -> list[Record]:
        """The records of one run, or those whose id starts with ``record_id``; oldest first."""
        if run_id:
            return self._bodies("SELECT body FROM records WHERE run_id = ? ORDER BY created_ms, id", (run_id,))
        # A range, not LIKE: it uses the index of the column.
        return self._bodies(
            "SELECT body FROM records WHERE id >= ? AND id < ? ORDER BY created_ms, id",
            (record_id, record_id + "\U0010ffff"),
        )

    def known(self, ids: Iterable[str]) -> set[str]:
        """Which of these records are indexed."""
        query = "SELECT 1 FROM records WHERE id = ?"
        return {each for each in ids if self._db.execute(query, (each,)).fetchone()}

    def everything(self) -> Iterator[Record]:
        """All records, oldest first."""
        for (body,) in self._db.execute("SELECT body FROM records ORDER BY created_ms, id"):
            yield _record(body)

    def _bodies(self, query: str, values: tuple[object, ...]) -> list[Record]:
        return [_record(body) for (body,) in self._db.execute(query, values)]


def _record(body: bytes) -> Record:
    record: Record = json.loads(zlib.decompress(body))
    return record
