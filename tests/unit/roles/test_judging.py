"""Which baseline a run is held against."""

from __future__ import annotations

from pathlib import Path

from pytest_disagg.clients.native.client import NativeClient
from pytest_disagg.records.record import Record
from pytest_disagg.roles.judging import grounds_of
from pytest_disagg.verdict.history import SeriesKey
from tests.unit.roles.conftest import SessionFactory


class Theirs(NativeClient):
    name = "aiperf"


def test_another_client_than_the_file_names_is_not_held_against_its_baseline(
    make_session: SessionFactory, tmp_path: Path
) -> None:
    (tmp_path / "sim.csv").write_text("case,metric,value\n")
    session = make_session(client=Theirs(), baseline_dirs=(tmp_path,))
    grounds, words = grounds_of(session, "none")
    assert grounds.baseline is None
    assert words == f"no baseline: {tmp_path / 'sim.csv'} is of the file's client native, this is aiperf"


def test_records_of_two_load_generators_are_two_series() -> None:
    record: Record = {"s_test_list": "aggr-x", "l_concurrency": 4, "s_client_tool": "native"}
    assert SeriesKey.of(record) == SeriesKey.of({**record, "s_client_tool": ""})
    assert SeriesKey.of(record) != SeriesKey.of({**record, "s_client_tool": "aiperf"})
    assert "tool aiperf" in str(SeriesKey.of({**record, "s_client_tool": "aiperf"}))
