"""Records grouped into points: one load of one case, with all its repeats, and the name it has in files and tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from pytest_disagg.records.record import Record, Value


@dataclass(frozen=True)
class RecordPoint:
    """One load of one case. ``label`` is ``con<concurrency>``, with ``<server>/`` before it, and the client's name in
    its place, where that is not unique within the case. ``records`` are its repeats, at least one."""

    case: str
    server: str
    client: str
    concurrency: int
    label: str
    records: tuple[Record, ...]

    @property
    def test_case_name(self) -> str:
        """``s_test_case_name``: the load's name in TensorRT-LLM's records."""
        return str(self.first.get("s_test_case_name", ""))

    @property
    def first(self) -> Record:
        return self.records[0]

    @property
    def valid(self) -> bool:
        """Whether every repeat passed the gate."""
        return all(record.get("b_is_valid", True) is True for record in self.records)

    @property
    def low_n(self) -> frozenset[str]:
        """Percentiles that no repeat has enough samples for."""
        return frozenset.intersection(*(frozenset(str(each.get("s_low_n", "")).split(",")) for each in self.records))

    def value(self, metric: str) -> float | None:
        """The median over the repeats that have this metric; None where none has."""
        found = [record.get(f"d_{metric}") for record in self.records]
        values = [float(value) for value in found if isinstance(value, (int, float))]
        return median(values) if values else None

    def called(self, qualifiers: Sequence[str]) -> bool:
        """Whether all of these words (``con8``, a server's or a client's name) are true of this point."""
        return set(qualifiers) <= {f"con{self.concurrency}", self.server, self.client}


_LABELS: tuple[Callable[[str, str, int], str], ...] = (
    lambda server, client, concurrency: f"con{concurrency}",
    lambda server, client, concurrency: f"{server}/con{concurrency}",
    lambda server, client, concurrency: f"{server}/{client}".lstrip("/"),
)


def case_of(record: Mapping[str, Value]) -> str:
    """The test id; of TensorRT-LLM's own records ``s_test_list`` or, without that, the name of the test case."""
    return str(record.get("s_case_id") or record.get("s_test_list") or record.get("s_test_case_name") or "")


def group(records: Sequence[Mapping[str, Value]]) -> list[RecordPoint]:
    """The points of these records, in the order in which they first occur. Records without a case are left out."""
    groups: dict[tuple[str, str, str, int], list[Record]] = {}
    for record in records:
        concurrency = record.get("l_concurrency", 0)
        key = (
            case_of(record),
            str(record.get("s_server_name", "")),
            str(record.get("s_client_name", "")),
            concurrency if isinstance(concurrency, int) else 0,
        )
        if key[0]:
            groups.setdefault(key, []).append(dict(record))
    return [RecordPoint(*key, _label(key, list(groups)), tuple(repeats)) for key, repeats in groups.items()]


def _label(key: tuple[str, str, str, int], keys: Sequence[tuple[str, str, str, int]]) -> str:
    case, *own = key
    siblings = [others for name, *others in keys if name == case]
    for label in _LABELS:
        mine = label(*own)  # type: ignore[arg-type]
        if sum(label(*others) == mine for others in siblings) == 1:  # type: ignore[arg-type]
            return mine
    return mine
