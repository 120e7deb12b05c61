"""History as verdicts see it: which records are of one series, and which of them are a reference.

A series is what may be compared: one load of one case, on one engine, cluster, GPU model and node group, measured by
one load generator. Node groups are part of the key because two of them that differ by 5 % hide any regression from
every statistic.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Protocol

from pytest_disagg.config.case import NATIVE
from pytest_disagg.errors import DisaggError
from pytest_disagg.records.points import case_of
from pytest_disagg.records.record import Value
from pytest_disagg.verdict.names import REFERENCE_BRANCH


class HistoryError(DisaggError):
    """The history could not be read: nothing may be called a pass because of it."""


@dataclass(frozen=True)
class SeriesKey:
    """What two records must have in common to be compared. Empty text means that the record does not have the field.

    ``tool`` is empty for ``native``, too: records of times when there was no other client say no less.
    """

    case: str
    server: str
    client: str
    concurrency: int
    engine: str
    cluster: str
    gpu: str
    node_group: str
    tool: str = ""

    @classmethod
    def of(cls, record: Mapping[str, Value]) -> SeriesKey:
        """The key of a record."""
        concurrency = record.get("l_concurrency", 0)
        return cls(
            case=plain_case(case_of(record)),
            server=str(record.get("s_server_name", "")),
            client=str(record.get("s_client_name", "")),
            concurrency=concurrency if isinstance(concurrency, int) else 0,
            engine=str(record.get("s_engine", "")),
            cluster=str(record.get("s_cluster", "")),
            gpu=str(record.get("s_gpu_type", "")),
            node_group=str(record.get("s_node_group", "")),
            tool="" if (tool := str(record.get("s_client_tool", ""))) == NATIVE else tool,
        )

    def __str__(self) -> str:
        return ", ".join(f"{field.name} {value}" for field in fields(self) if (value := getattr(self, field.name)))


_UPLOAD = re.compile(r"^(disagg|aggr)_upload-")


def plain_case(case: str) -> str:
    """The test id without ``_upload``: whether its records go to a database is no matter of what was measured."""
    return _UPLOAD.sub(r"\1-", case)


class History(Protocol):
    """Where records of earlier runs come from; what opens it is pytest_disagg.store.history."""

    def series(self, key: SeriesKey) -> Sequence[Mapping[str, Value]]:
        """Every record of that key (repeats, every branch, invalid ones too), oldest ``ts_created`` first.

        Raises:
            HistoryError: it cannot be read, or not whole.
        """
        ...


class MemoryHistory:
    """A history of records at hand."""

    def __init__(self, records: Iterable[Mapping[str, Value]] = ()) -> None:
        self._series: dict[SeriesKey, list[Mapping[str, Value]]] = {}
        for record in records:
            self._series.setdefault(SeriesKey.of(record), []).append(record)
        for found in self._series.values():
            found.sort(key=created_ms)

    def series(self, key: SeriesKey) -> Sequence[Mapping[str, Value]]:
        return self._series.get(key, ())


@dataclass(frozen=True)
class Night:
    """One run's value in a series: the median over its repeats. ``record`` is the first of them."""

    value: float
    repeats: tuple[float, ...]
    record: Mapping[str, Value]

    @property
    def time_ms(self) -> int:
        return created_ms(self.record)

    @property
    def run_id(self) -> str:
        return str(self.record.get("s_run_id", ""))

    @property
    def commit(self) -> str:
        return str(self.record.get("s_commit", ""))


def created_ms(record: Mapping[str, Value]) -> int:
    """When the record was made, epoch milliseconds; 0 where it does not say."""
    value = record.get("ts_created", 0)
    return int(value) if isinstance(value, (int, float)) else 0


def usable(record: Mapping[str, Value]) -> bool:
    """Whether a record may be part of a history at all: it passed the gate, was no rehearsal, and is no baseline."""
    return (
        record.get("b_is_valid", True) is True
        and record.get("b_rehearsal") is not True
        and record.get("b_is_baseline") is not True
        and record.get("b_profiled") is not True
        and record.get("b_quarantined") is not True
    )


def is_reference(record: Mapping[str, Value], branch: str) -> bool:
    """Whether a record measured that branch itself: not a change that is proposed for it, not a modified checkout.

    A record that names no branch, as outside of git, counts as any.
    """
    if record.get("s_trigger_mr_id") or record.get("b_git_dirty") is True:
        return False
    return not branch or record.get("s_branch", "") in ("", branch)


def branch_of(record: Mapping[str, Value], reference: str = REFERENCE_BRANCH) -> str:
    """The branch whose history judges a record: its own after a merge, else the reference branch."""
    return str(record.get("s_branch", "")) if record.get("b_is_post_merge") is True else reference


def nights(records: Iterable[Mapping[str, Value]], metric: str, branch: str) -> list[Night]:
    """The usable reference records as one value per run, oldest first. Runs without that metric are left out."""
    runs: dict[str, list[Mapping[str, Value]]] = {}
    for position, record in enumerate(records):
        if usable(record) and is_reference(record, branch) and isinstance(record.get(f"d_{metric}"), (int, float)):
            # Records of other tools may have no run id: then each is a run of its own.
            runs.setdefault(str(record.get("s_run_id") or f"#{position}"), []).append(record)
    found = []
    for repeats in runs.values():
        values = tuple(float(record[f"d_{metric}"]) for record in repeats)
        found.append(Night(median(values), values, repeats[0]))
    return sorted(found, key=lambda night: night.time_ms)
