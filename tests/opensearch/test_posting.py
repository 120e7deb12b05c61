"""The posting service: what TensorRT-LLM's pipeline asks of it, and what it does not forgive."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_disagg.store.documents import Document, identity
from pytest_disagg.store.posting.store import PROJECT, PostingType
from pytest_disagg.store.protocol import StoreError, Wanted
from tests.opensearch.conftest import Lab, documents, record, soon
from tests.opensearch.service import Service

INDEX = f"df-{PROJECT}"
USER, PASSWORD = "ci", "open-sesame"


@pytest.fixture
def service(lab: Lab) -> Iterator[Service]:
    lab.ask("DELETE", f"{INDEX}-*")
    with Service(lab.url, USER, PASSWORD).serving() as made:
        yield made
    lab.ask("DELETE", f"{INDEX}-*")


def environ(service: Service, **more: str) -> dict[str, str]:
    return {
        "OPEN_SEARCH_DB_BASE_URL": service.url,
        "OPEN_SEARCH_DB_CREDENTIALS_USR": USER,
        "OPEN_SEARCH_DB_CREDENTIALS_PSW": PASSWORD,
        **more,
    }


def test_posted_twice_is_there_once(lab: Lab, service: Service) -> None:
    store = PostingType().open(environ(service))
    assert store.send(documents(20), until=soon()).stored == 20
    assert store.send(documents(20), until=soon()).stored == 20
    found = lab.documents(INDEX)
    assert set(found) == {each.id for each in documents(20)}
    read = list(store.read(Wanted({"s_test_list": "aggr_upload-x", "b_is_valid": True}), until=soon()))
    assert {identity(each) for each in read} == set(found)


def test_one_bad_document_costs_itself_alone(lab: Lab, service: Service) -> None:
    good = documents(100)
    # What a store casts before it sends, here past that.
    bad = Document("bad", {**record(50), "d_token_throughput": "fast"})
    sent = PostingType().open(environ(service)).send([*good[:50], bad, *good[51:]], until=soon())
    assert sent.stored == 99
    assert [each.id for each in sent.rejected] == ["bad"]
    assert "d_token_throughput" in sent.rejected[0].reason
    assert len(lab.documents(INDEX)) == 99


def test_credentials_are_asked_for_except_in_a_sandbox(lab: Lab, service: Service) -> None:
    wrong = environ(service, OPEN_SEARCH_DB_CREDENTIALS_PSW="not-that-one")
    with pytest.raises(StoreError, match="401") as error:
        PostingType().open(wrong).send(documents(1), until=soon())
    assert "not-that-one" not in str(error.value)
    sandbox = PostingType().open({**wrong, "USE_POC_DB": "true"})
    assert sandbox.send(documents(1), until=soon()).stored == 1
    assert "sandbox" in sandbox.where()
    lab.ask("DELETE", "df-sandbox-*")


def test_nobody_there_is_told(service: Service) -> None:
    with pytest.raises(StoreError, match="tried"):
        PostingType().open(environ(service, OPEN_SEARCH_DB_BASE_URL="http://127.0.0.1:9")).send(
            documents(1), until=soon(0.5)
        )
