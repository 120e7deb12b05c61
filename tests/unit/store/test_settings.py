"""What the environment says about stores, when something is tried again, and what becomes of a spool."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from pytest_disagg.errors import UsageError
from pytest_disagg.records.record import Record
from pytest_disagg.redact import redact
from pytest_disagg.store import registry
from pytest_disagg.store.documents import Document
from pytest_disagg.store.opensearch.connect import Settings
from pytest_disagg.store.place import default_path, history_path
from pytest_disagg.store.posting.store import POC_PROJECT, PROJECT
from pytest_disagg.store.posting.store import Settings as PostingSettings
from pytest_disagg.store.protocol import Rejected, Sent, StoreError, Wanted
from pytest_disagg.store.retry import Passing, asked_pause_s, persist
from pytest_disagg.store.search import body
from pytest_disagg.store.spool import Spool
from pytest_disagg.store.upload import flush, upload
from tests.unit.store.conftest import record

URL = "https://search.example.org"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"URL": "search.example.org"}, "OPENSEARCH_URL: found 'search.example.org'"),
        ({"URL": "ftp://x"}, "expected http://HOST"),
        ({"URL": "https://x:port"}, "OPENSEARCH_URL"),
        ({"INDEX": "Perf"}, "OPENSEARCH_INDEX: found 'Perf'"),
        ({"TIMEOUT_S": "soon"}, "OPENSEARCH_TIMEOUT_S: found 'soon'"),
        ({"VERIFY": "perhaps"}, "OPENSEARCH_VERIFY: found 'perhaps'"),
        ({"USERNAME": "u"}, "OPENSEARCH_PASSWORD is not"),
        ({"PASSWORD": "p"}, "OPENSEARCH_USERNAME is not"),
        ({"USERNAME": "u", "PASSWORD": "p", "TOKEN": "t"}, "both set"),
        ({"CLIENT_CERT": "/nowhere"}, "OPENSEARCH_CLIENT_CERT: found /nowhere, expected a file"),
        ({"PASSWORD_FILE": "/nowhere"}, "OPENSEARCH_PASSWORD_FILE"),
        ({"URL": "http://search.example.org", "TOKEN": "t"}, "expected https://"),
    ],
)
def test_settings_that_cannot_be_used_are_told(given: Mapping[str, str], words: str) -> None:
    environ = {f"OPENSEARCH_{name}": value for name, value in {"URL": URL, **given}.items()}
    with pytest.raises(UsageError) as error:
        Settings.of(environ)
    assert words in str(error.value)


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as error:
        Settings.of({"OPENSEARCH_URL": "https://user:open-sesame@search.example.org"})
    assert "open-sesame" not in str(error.value)


def test_credentials_on_this_machine_need_no_tls() -> None:
    given = {"OPENSEARCH_URL": "http://127.0.0.1:9200/", "OPENSEARCH_USERNAME": "u", "OPENSEARCH_PASSWORD": "pppp"}
    assert Settings.of(given).url == "http://127.0.0.1:9200"


def test_a_secret_from_a_file_is_masked(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("zq-hidden-word\n", encoding="utf-8")
    settings = Settings.of({"OPENSEARCH_URL": URL, "OPENSEARCH_TOKEN_FILE": str(tmp_path / "token")})
    assert settings.token == "zq-hidden-word"
    assert "zq-hidden-word" not in redact(f"x {settings.token} y") + repr(settings)


def test_the_posting_service_has_two_projects() -> None:
    given = {"OPEN_SEARCH_DB_BASE_URL": URL, "OPEN_SEARCH_DB_CREDENTIALS_USR": "u"}
    with pytest.raises(UsageError, match="CREDENTIALS_PSW"):
        PostingSettings.of(given)
    given["OPEN_SEARCH_DB_CREDENTIALS_PSW"] = "pppp"
    assert (PostingSettings.of(given).project, PostingSettings.of(given).user) == (PROJECT, "u")
    assert PostingSettings.of({**given, "USE_POC_DB": "true"}).project == POC_PROJECT
    assert PostingSettings.of({**given, "USE_POC_DB": "true"}).user == ""


def test_stores_are_selected_by_their_urls() -> None:
    assert registry.selected({}) == []
    assert registry.selected({"OPENSEARCH_URL": URL}) == ["opensearch"]
    both = {"OPEN_SEARCH_DB_BASE_URL": URL, "OPENSEARCH_URL": URL}
    assert registry.selected(both) == ["opensearch", "posting"]


def test_history_lies_where_somebody_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert history_path(Path("/a"), {"DISAGG_HISTORY": "/b"}) == Path("/a")
    assert history_path(None, {"DISAGG_HISTORY": "/b"}) == Path("/b")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert history_path(None, {}) == default_path() == tmp_path / ".local/share/pytest-disagg"


def test_passing_failures_are_tried_again_until_the_time_is_over() -> None:
    tries = []

    def attempt(limit_s: float) -> str:
        tries.append(limit_s)
        if len(tries) < 3:
            raise Passing("503")
        return "done"

    assert persist(attempt, until=time.monotonic() + 60, timeout_s=2.0, what="x") == "done"
    assert tries == [2.0] * 3

    def never(limit_s: float) -> str:
        raise Passing("429", pause_s=3600.0)

    with pytest.raises(StoreError, match=r"x: 429 \(tried 1 times\)"):
        persist(never, until=time.monotonic() + 60, timeout_s=2.0, what="x")


def test_no_time_is_no_try() -> None:
    with pytest.raises(StoreError, match="no time was left"):
        persist(lambda limit_s: limit_s, until=time.monotonic() - 1, timeout_s=2.0, what="x")


def test_retry_after_is_read_where_it_is_seconds() -> None:
    assert [asked_pause_s(each) for each in ("3", None, "Wed, 21 Oct 2026 07:28:00 GMT", "-4")] == [3.0, 0.0, 0.0, 0.0]


def test_a_search_matches_what_is_missing_with_false_and_pages_on() -> None:
    made = body(Wanted({"b_x": False, "l_y": 3}, since_ms=5), ["after"])
    filters = made["query"]["bool"]["filter"]
    assert filters[0]["bool"]["minimum_should_match"] == 1
    assert filters[1] == {"term": {"l_y": 3}}
    assert filters[2]["range"]["ts_created"]["gte"] == 5
    assert made["search_after"] == ["after"]


class Fake:
    """A store that takes what its test lets it."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.refuses: set[str] = set()
        self.down = False

    def selected(self, environ: Mapping[str, str]) -> bool:
        return "FAKE_URL" in environ

    def open(self, environ: Mapping[str, str]) -> Fake:
        return self

    def where(self) -> str:
        return "fake"

    def send(self, documents: Sequence[Document], *, until: float) -> Sent:
        if self.down:
            raise StoreError("fake: nobody there")
        good = [each.id for each in documents if each.body["s_run_id"] not in self.refuses]
        self.got += good
        return Sent(len(good), rejected=tuple(Rejected(each.id, "no") for each in documents if each.id not in good))

    def read(self, wanted: Wanted, *, until: float) -> Iterator[Record]:
        return iter(())


@pytest.fixture
def fake() -> Iterator[Fake]:
    made = Fake()
    registry.register("fake", lambda: made)
    yield made
    registry.unregister("fake")


ENVIRON = {"FAKE_URL": "x"}


def test_a_store_that_is_down_leaves_all_in_the_spool(tmp_path: Path, fake: Fake) -> None:
    fake.down = True
    done = upload(tmp_path, "a.jsonl", [record(1)], ENVIRON, limit_s=5)
    assert (done.ok, done.uploaded[0].left) == (False, 1)
    assert "1 files still to be sent" in done.lines()[0]
    fake.down = False
    assert flush(tmp_path, ENVIRON, until=time.monotonic() + 60).ok
    assert len(fake.got) == 1
    assert Spool.of(tmp_path, "fake").pending() == []


def test_what_is_refused_stays_alone(tmp_path: Path, fake: Fake) -> None:
    fake.refuses = {"run-2"}
    done = upload(tmp_path, "a.jsonl", [record(1), record(2)], ENVIRON, limit_s=5)
    assert not done.ok
    assert (done.uploaded[0].sent.stored, done.uploaded[0].left) == (1, 1)
    fake.refuses = set()
    flush(tmp_path, ENVIRON, until=time.monotonic() + 60)
    assert len(fake.got) == len(set(fake.got)) == 2


def test_a_broken_spool_file_does_not_stop_the_others(tmp_path: Path, fake: Fake) -> None:
    spool = Spool.of(tmp_path, "fake")
    spool.put("b.jsonl", [record(1)])
    (spool.path / "a.jsonl").write_text("{", encoding="utf-8")
    done = flush(tmp_path, ENVIRON, until=time.monotonic() + 60)
    assert (done.ok, done.uploaded[0].left, len(fake.got)) == (False, 1, 1)
    assert "a.jsonl:1" in done.uploaded[0].problems[0]


def test_a_spool_that_cannot_be_written_is_told(tmp_path: Path, fake: Fake) -> None:
    (tmp_path / "spool").write_text("a file", encoding="utf-8")
    done = upload(tmp_path, "a.jsonl", [record(1)], ENVIRON, limit_s=5)
    assert not done.ok
    assert "cannot be written" in done.uploaded[0].problems[0]


def test_a_misconfigured_store_is_told_and_keeps_its_copy(tmp_path: Path) -> None:
    done = upload(tmp_path, "a.jsonl", [record(1)], {"OPENSEARCH_URL": "nonsense"}, limit_s=5)
    assert "OPENSEARCH_URL" in done.uploaded[0].problems[0]
    assert len(Spool.of(tmp_path, "opensearch").pending()) == 1
