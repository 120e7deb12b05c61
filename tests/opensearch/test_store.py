"""What arrives in a real OpenSearch: typed, once, where it belongs, whatever happens on the way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_disagg.store.documents import document, identity
from pytest_disagg.store.protocol import StoreError, Wanted
from pytest_disagg.store.search import PAGE
from tests.opensearch.conftest import CREATED_MS, Lab, documents, record, soon
from tests.opensearch.proxy import Manner, Proxy

YEAR_MS = 366 * 24 * 3600 * 1000


def test_documents_are_typed_by_their_prefix(lab: Lab) -> None:
    sent = document(record(d_user_throughput=3, s_commit="abc", b_rehearsal=False))
    assert lab.store().send([sent], until=soon()).stored == 1
    (found,) = lab.documents().values()
    assert found["d_user_throughput"] == 3.0
    (mapping,) = lab.ask("GET", f"{lab.index}/_mapping").values()
    types = {name: field["type"] for name, field in mapping["mappings"]["properties"].items()}
    assert types["d_user_throughput"] == "double"
    assert types["l_concurrency"] == "long"
    assert types["s_commit"] == "keyword"
    assert types["b_rehearsal"] == "boolean"
    assert types["ts_created"] == types["@timestamp"] == "date"


def test_every_year_has_an_index_behind_aliases(lab: Lab) -> None:
    both = [document(record(0)), document(record(1, ts_created=CREATED_MS + YEAR_MS))]
    assert lab.store().send(both, until=soon()).stored == 2
    aliases = lab.ask("GET", f"{lab.index}*/_alias")
    assert {index: set(found["aliases"]) for index, found in aliases.items()} == {
        f"{lab.index}-v1-2026": {lab.index, f"{lab.index}-2026"},
        f"{lab.index}-v1-2027": {lab.index, f"{lab.index}-2027"},
    }


def test_a_repeat_changes_nothing(lab: Lab) -> None:
    first = lab.store().send(documents(20), until=soon())
    second = lab.store().send(documents(20), until=soon())
    assert (first.stored, first.known) == (20, 0)
    assert (second.stored, second.known) == (0, 20)
    assert {found["_version"] for found in lab.documents().values()} == {1}


def test_several_at_once_store_each_once(lab: Lab) -> None:
    with ThreadPoolExecutor(4) as pool:
        sent = list(pool.map(lambda _: lab.store().send(documents(200), until=soon()), range(4)))
    assert sum(each.stored for each in sent) == 200
    assert sum(each.known for each in sent) == 600
    assert len(lab.documents()) == 200


def test_a_field_that_the_server_refuses_is_left_out_of_that_document_alone(lab: Lab) -> None:
    lab.store().send(documents(1), until=soon())
    lab.ask("PUT", f"{lab.index}-v1-2026/_mapping", {"properties": {"s_odd": {"type": "ip"}}})
    batch = [document(record(number, **({"s_odd": "no address"} if number == 50 else {}))) for number in range(100)]
    sent = lab.store().send(batch, until=soon())
    assert (sent.stored, sent.known, sent.rejected) == (99, 1, ())
    assert len(sent.left_out) == 1
    assert "s_odd" in sent.left_out[0]
    found = lab.documents()
    assert len(found) == 100
    assert "s_odd" not in found[batch[50].id]
    assert "s_odd" in found[batch[50].id]["s_left_out"]


def test_a_document_that_the_server_refuses_is_told_and_the_others_are_stored(lab: Lab) -> None:
    lab.store().send(documents(1), until=soon())
    fields = len(lab.ask("GET", f"{lab.index}-v1-2026/_mapping")[f"{lab.index}-v1-2026"]["mappings"]["properties"])
    lab.ask("PUT", f"{lab.index}-v1-2026/_settings", {"index.mapping.total_fields.limit": fields})
    batch = [document(record(number, **({"s_new": "x"} if number == 50 else {}))) for number in range(100)]
    sent = lab.store().send(batch, until=soon())
    assert (sent.stored, sent.known) == (98, 1)
    assert [each.id for each in sent.rejected] == [batch[50].id]
    assert "total fields" in sent.rejected[0].reason


@pytest.mark.parametrize("manners", [[429, 503], [502, 504], ["cut"], ["torn", "torn"], ["torn", 429]], ids=str)
def test_what_passes_is_tried_again_and_stored_once(lab: Lab, proxy: Proxy, manners: list[Manner]) -> None:
    lab.store().send(documents(1), until=soon())  # so that the next requests are bulks
    store = lab.store(OPENSEARCH_URL=proxy.url)
    proxy.manners = [*manners]
    sent = store.send(documents(10), until=soon())
    assert sent.stored + sent.known == 10
    assert not sent.rejected
    assert not proxy.manners
    assert len(lab.documents()) == 10
    assert {found["_version"] for found in lab.documents().values()} == {1}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_what_does_not_pass_is_tried_once(lab: Lab, proxy: Proxy, status: int) -> None:
    store = lab.store(OPENSEARCH_URL=proxy.url)
    store.send(documents(1), until=soon())
    before = len(proxy.seen)
    proxy.manners = [status]
    with pytest.raises(StoreError, match=str(status)):
        store.send(documents(2), until=soon())
    assert len(proxy.seen) == before + 1


def test_a_server_that_does_not_answer_costs_no_more_than_its_time(lab: Lab, proxy: Proxy) -> None:
    proxy.manners = ["silent"] * 50
    with pytest.raises(StoreError, match="tried"):
        lab.store(OPENSEARCH_URL=proxy.url, OPENSEARCH_TIMEOUT_S="0.2").send(documents(1), until=soon(1))


def test_a_search_gives_every_record_once_in_order(lab: Lab) -> None:
    count = 2 * PAGE + 17
    # All of one moment, so that only the order within it keeps pages apart.
    mine = [document(record(number, ts_created=CREATED_MS)) for number in range(count)]
    lab.store().send(mine, until=soon())
    lab.documents()
    read = list(lab.store().read(Wanted({"s_case_id": "aggr_upload-x"}), until=soon()))
    assert len(read) == count
    assert {identity(each) for each in read} == {each.id for each in mine}


def test_documents_of_the_other_tool_are_read_too(lab: Lab) -> None:
    lines = []
    for number in range(PAGE + 5):
        source = {"s_test_list": "disagg-e2e-x", "s_test_case_name": f"x-{number % 7}", "l_concurrency": number}
        lines += [{"index": {"_id": f"md5-{number}"}}, {**source, "b_is_valid": True, "ts_created": CREATED_MS}]
    lab.store().send(documents(1), until=soon())
    store = lab.store()
    store._client.bulk(index=f"{lab.index}-v1-2026", body=lines, params={"refresh": "true"})
    read = list(store.read(Wanted({"s_test_list": "disagg-e2e-x", "b_is_valid": True}), until=soon()))
    assert len({identity(each) for each in read}) == len(read) == PAGE + 5
    assert {each["s_engine"] for each in read} == {"trtllm"}


def test_reading_where_nothing_was_ever_sent_finds_nothing(lab: Lab) -> None:
    assert list(lab.store().read(Wanted(), until=soon())) == []


def test_a_search_is_limited_in_time_and_false_matches_missing(lab: Lab) -> None:
    lab.store().send([document(record(1)), document(record(2, b_profiled=True))], until=soon())
    lab.documents()
    wanted = Wanted({"b_profiled": False}, since_ms=CREATED_MS + 1, until_ms=CREATED_MS + 2)
    assert [each["s_run_id"] for each in lab.store().read(wanted, until=soon())] == ["run-1"]
