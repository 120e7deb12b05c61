"""What verdicts are judged against: the history of a folder, and with it that of the store which is configured."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Protocol

from pytest_disagg.errors import DisaggError
from pytest_disagg.records.record import Record
from pytest_disagg.store import registry
from pytest_disagg.store.documents import identity
from pytest_disagg.store.local import SYNC_S, WAIT_S, LocalHistory
from pytest_disagg.store.protocol import Store, StoreError, Term, Wanted
from pytest_disagg.store.truth import belongs, twins
from pytest_disagg.verdict.history import HistoryError, SeriesKey, created_ms

READ_S = 6.0
"""How long a store may take to answer, all questions together: in a run the GPUs are held while it lasts."""


class OpenHistory(Protocol):
    """An open history.

    ``notes`` is what a person should know about how it was read, ``unreachable`` why the store that is configured could
    not be (empty where it could, or where none is).
    """

    notes: list[str]
    unreachable: str

    def series(self, key: SeriesKey) -> Sequence[Record]:
        """Every record of that key, oldest first; raises HistoryError where it cannot be read, or not whole."""
        ...


def open_history(
    path: Path,
    environ: Mapping[str, str] | None = None,
    *,
    sync_s: float = SYNC_S,
    wait_s: float = WAIT_S,
    read_s: float = READ_S,
) -> AbstractContextManager[OpenHistory]:
    """The history below ``path`` and, with ``environ``, what the first store that it selects has besides.

    ``sync_s`` limits reading record files that the index does not know yet, ``wait_s`` waiting for other processes at
    the index, ``read_s`` the store. A store that cannot be read leaves the folder's records, and a note; only of a
    series that the folder does not have it is an error.

    Raises:
        HistoryError: the folder cannot be read.
    """
    local = LocalHistory(path, sync_s=sync_s, wait_s=wait_s)
    if environ is None:
        return local
    try:
        names = registry.selected(environ)
        return JoinedHistory(local, registry.get(names[0]).open(environ), time.monotonic() + read_s) if names else local
    except DisaggError as error:
        local.unreachable = str(error)
        local.notes.append(f"judged against the local history alone: {error}")
        return local


class JoinedHistory:
    """The records of a folder and of a store, each once. The folder's are the truth where both have one."""

    def __init__(self, local: LocalHistory, store: Store, until: float) -> None:
        self._local = local
        self._store = store
        self._until = until
        self.unreachable = ""
        self.notes = local.notes

    def __enter__(self) -> JoinedHistory:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._local.close()

    def series(self, key: SeriesKey) -> Sequence[Record]:
        """Every record of that key, oldest ``ts_created`` first.

        Raises:
            HistoryError: the folder cannot be read, or it has nothing of this series and the store cannot be read.
        """
        found = {identity(record): record for record in self._local.series(key)}
        for record in self._remote(key, needed=not found):
            found.setdefault(identity(record), record)
        return sorted(found.values(), key=created_ms)

    def _remote(self, key: SeriesKey, *, needed: bool) -> list[Record]:
        if not self.unreachable:
            try:
                return of_series(self._store, key, until=self._until)
            except StoreError as error:
                self.unreachable = f"the history there could not be read: {error}"
                self.notes.append(f"{self.unreachable}; judged against the local history alone")
        if needed:
            raise HistoryError(self.unreachable)
        return []


def of_series(store: Store, key: SeriesKey, *, until: float) -> list[Record]:
    """The records that a store has of a series.

    Documents of TensorRT-LLM's own pipeline name no cluster, node group, load generator and, in part, no server: they
    belong to whichever is asked for, as they do there.

    Raises:
        StoreError: it could not be read whole.
    """
    terms: dict[str, Term] = {"s_test_list": twins(key.case), "b_is_valid": True}
    if key.concurrency:
        terms["l_concurrency"] = key.concurrency
    if key.gpu:
        terms["s_gpu_type"] = key.gpu
    found = []
    for record in store.read(Wanted(terms), until=until):
        if belongs(record) and SeriesKey.of(_completed(record, key)) == key:
            found.append(record)
    return found


def _completed(record: Record, key: SeriesKey) -> Record:
    if "l_schema_version" in record:
        return record
    return {
        "s_cluster": key.cluster,
        "s_node_group": key.node_group,
        "s_server_name": key.server,
        "s_client_name": key.client,
        "s_client_tool": key.tool,
        **record,
    }
