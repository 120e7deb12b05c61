"""Several stores: each is tried, whatever becomes of the others, and none takes the time of the next."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from pytest_disagg.records.record import Record
from pytest_disagg.store import registry
from pytest_disagg.store.documents import Document
from pytest_disagg.store.protocol import Sent, StoreError, Wanted
from pytest_disagg.store.spool import Spool
from pytest_disagg.store.upload import flush, upload
from tests.unit.store.conftest import record

NAME = "run-0.aggr-x.jsonl"
LIMIT_S = 600.0


class Asked:
    """A store type and its store: notes until when it may take, and takes everything or is down."""

    def __init__(self, *, down: bool = False) -> None:
        self.down = down
        self.until: list[float] = []

    def made(self) -> Asked:
        return self

    def selected(self, environ: Mapping[str, str]) -> bool:
        return "ASKED" in environ

    def open(self, environ: Mapping[str, str]) -> Asked:
        return self

    def where(self) -> str:
        return "here"

    def send(self, documents: Sequence[Document], *, until: float) -> Sent:
        self.until.append(until)
        if self.down:
            raise StoreError("here: does not answer")
        return Sent(stored=len(documents))

    def read(self, wanted: Wanted, *, until: float) -> Iterator[Record]:
        yield from ()


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Asked]]:
    """Two stores, the first of which is down."""
    found = [Asked(down=True), Asked()]
    for name, store in zip(("a-down", "b-up"), found, strict=True):
        registry.register(name, store.made)
    yield found
    for name in ("a-down", "b-up"):
        registry.unregister(name)


def test_a_store_that_is_down_leaves_the_next_one_its_share(stores: list[Asked], tmp_path: Path) -> None:
    before_s = time.monotonic()
    done = upload(tmp_path, NAME, [record()], {"ASKED": "1"}, limit_s=LIMIT_S)
    after_s = time.monotonic()
    assert [(each.store, each.ok, each.sent.stored) for each in done.uploaded] == [
        ("a-down", False, 0),
        ("b-up", True, 1),
    ]
    assert done.lines()[1] == "upload to a-down: here: does not answer"
    first, second = (until for store in stores for until in store.until)
    assert before_s + LIMIT_S / 2 <= first <= after_s + LIMIT_S / 2
    assert before_s + LIMIT_S <= second <= after_s + LIMIT_S
    assert [len(Spool.of(tmp_path, name).pending()) for name in ("a-down", "b-up")] == [1, 0]


def test_what_waits_is_sent_to_each_within_its_share(stores: list[Asked], tmp_path: Path) -> None:
    upload(tmp_path, NAME, [record()], {"ASKED": "1"}, limit_s=LIMIT_S)
    stores[0].down, stores[0].until = False, []
    before_s = time.monotonic()
    assert flush(tmp_path, {"ASKED": "1"}, until=before_s + LIMIT_S).ok
    (first,) = stores[0].until
    assert before_s + LIMIT_S / 2 <= first <= time.monotonic() + LIMIT_S / 2
    assert Spool.of(tmp_path, "a-down").pending() == []


def test_a_store_without_time_is_told_and_keeps_its_file(stores: list[Asked], tmp_path: Path) -> None:
    done = upload(tmp_path, NAME, [record()], {"ASKED": "1"}, limit_s=0.0)
    assert [each.problems for each in done.uploaded] == [("here: no time is left to send the rest",)] * 2
    assert [len(Spool.of(tmp_path, name).pending()) for name in ("a-down", "b-up")] == [1, 1]
