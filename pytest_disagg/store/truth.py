"""``<history>/records/``: every valid record that was ever measured, one file per run and case. All else is derived.

A file appears whole and is never rewritten, so any number of machines may write and read the folder at once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.errors import ConfigError
from pytest_disagg.records import record as records
from pytest_disagg.records.points import case_of
from pytest_disagg.records.record import Record, Value
from pytest_disagg.rundir.files import create_text
from pytest_disagg.rundir.layout import safe_name
from pytest_disagg.verdict.history import HistoryError

SUFFIX = ".jsonl"
IMPORTED = "import-"
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Truth:
    """The record files below ``<history>/records``."""

    path: Path

    @classmethod
    def of(cls, history: Path) -> Truth:
        return cls(history / "records")

    def put(self, name: str, found: Sequence[Mapping[str, Value]]) -> bool:
        """Keep records under that name; False when the same records are there already.

        Raises:
            HistoryError: the folder cannot be written, or the name holds other records.
        """
        text = lines_of(found)
        path = self.path / name
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if create_text(path, text):
                return True
            there = path.read_text(encoding="utf-8")
        except OSError as error:
            raise HistoryError(f"{path}: cannot be written: {error.strerror or error}") from error
        if there != text:
            raise HistoryError(f"{path}: holds other records of the same run and case; nothing was overwritten")
        return False

    def names(self) -> set[str]:
        """The names of all files; none where nothing was ever kept.

        Raises:
            HistoryError: the folder cannot be read.
        """
        try:
            with os.scandir(self.path) as entries:
                return {entry.name for entry in entries if entry.name.endswith(SUFFIX) and entry.name[0] != "."}
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise HistoryError(f"{self.path}: cannot be read: {error.strerror or error}") from error

    def read(self, name: str) -> list[Record]:
        """The records of one file.

        Raises:
            HistoryError: it cannot be read, or a line of it is no record.
        """
        try:
            return records.read(self.path / name)
        except ConfigError as error:
            raise HistoryError(str(error)) from error


def file_name(run_id: str, case: str) -> str:
    """``<run id>.<case>.jsonl``; a name too long for a file system is cut and gets a digest instead of its end."""
    name = f"{safe_name(run_id)}.{safe_name(case)}"
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}-{hashlib.sha256(f'{run_id} {case}'.encode()).hexdigest()[:16]}"
    return name + SUFFIX


def imported_name(found: Sequence[Mapping[str, Value]]) -> str:
    """The name of imported records: the same for the same records, so that a repeat changes nothing."""
    return f"{IMPORTED}{hashlib.sha256(lines_of(found).encode()).hexdigest()[:24]}{SUFFIX}"


def may_hold(name: str, case: str) -> bool:
    """Whether a file of that name can have records of the case, as far as the name tells."""
    ends = tuple(f".{safe_name(twin)}{SUFFIX}" for twin in twins(case))
    return name.startswith(IMPORTED) or len(name) > _LONGEST_NAME or name.endswith(ends)


def twins(case: str) -> tuple[str, ...]:
    """The test ids whose records are of one series with that plain case's: itself and the one that uploads."""
    kind, hyphen, rest = case.partition("-")
    return (case, f"{kind}_upload-{rest}") if hyphen and kind in ("disagg", "aggr") else (case,)


def lines_of(found: Iterable[Mapping[str, Value]]) -> str:
    """Records as JSON lines."""
    return "".join(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in found)


def belongs(record: Mapping[str, Value]) -> bool:
    """Whether a record is history at all: it passed the gate, is no rehearsal, and says of which case it is."""
    return record.get("b_is_valid", True) is True and record.get("b_rehearsal") is not True and bool(case_of(record))
