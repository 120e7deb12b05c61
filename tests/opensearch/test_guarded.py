"""Servers that want to know who comes: TLS, passwords, tokens and certificates of nginx."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_disagg.errors import UsageError
from pytest_disagg.store.opensearch.store import OpenSearchType
from pytest_disagg.store.protocol import Sent, StoreError
from tests.opensearch.conftest import Lab, documents, soon
from tests.opensearch.tls import PASSWORD, TOKEN, USER, Guarded, guarding, unavailable


@pytest.fixture(scope="module")
def guarded(opensearch_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    if reason := unavailable():
        pytest.skip(reason)
    with guarding(opensearch_url, tmp_path_factory.mktemp("nginx")) as made:
        yield made


def send(lab: Lab, url: str, **more: object) -> Sent:
    environ = lab.through(url, **{f"OPENSEARCH_{name}": str(value) for name, value in more.items()})
    return OpenSearchType().open(environ).send(documents(3), until=soon())


def test_a_password_lets_in(lab: Lab, guarded: Guarded, tmp_path: Path) -> None:
    assert send(lab, guarded.basic, CA_BUNDLE=guarded.ca, USERNAME=USER, PASSWORD=PASSWORD).stored == 3
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD + "\n", encoding="utf-8")
    assert send(lab, guarded.basic, CA_BUNDLE=guarded.ca, USERNAME=USER, PASSWORD_FILE=secret).known == 3


def test_a_token_lets_in(lab: Lab, guarded: Guarded) -> None:
    assert send(lab, guarded.token, CA_BUNDLE=guarded.ca, TOKEN=TOKEN).stored == 3


def test_a_certificate_lets_in(lab: Lab, guarded: Guarded) -> None:
    shown = {"CLIENT_CERT": guarded.certificate, "CLIENT_KEY": guarded.key}
    assert send(lab, guarded.client, CA_BUNDLE=guarded.ca, **shown).stored == 3
    with pytest.raises(StoreError, match="400"):
        send(lab, guarded.client, CA_BUNDLE=guarded.ca)


def test_wrong_credentials_are_told_without_them(lab: Lab, guarded: Guarded) -> None:
    with pytest.raises(StoreError, match="401") as wrong:
        send(lab, guarded.basic, CA_BUNDLE=guarded.ca, USERNAME=USER, PASSWORD="wrong-horse-staple")
    with pytest.raises(StoreError, match="401") as token:
        send(lab, guarded.token, CA_BUNDLE=guarded.ca, TOKEN="tok-of-somebody-else")
    for secret in ("wrong-horse-staple", "tok-of-somebody-else"):
        assert secret not in f"{wrong.value}{token.value}"
    assert lab.documents() == {}


def test_a_certificate_of_another_authority_is_refused(lab: Lab, guarded: Guarded) -> None:
    with pytest.raises(StoreError, match=r"(?i)certificate"):
        send(lab, guarded.basic, CA_BUNDLE=guarded.other_ca, USERNAME=USER, PASSWORD=PASSWORD)
    with pytest.raises(StoreError, match=r"(?i)certificate"):
        send(lab, guarded.basic, USERNAME=USER, PASSWORD=PASSWORD)


def test_verification_is_off_only_where_it_was_asked_for(lab: Lab, guarded: Guarded) -> None:
    assert send(lab, guarded.token, TOKEN=TOKEN, VERIFY="false").stored == 3


def test_files_that_are_no_certificates_are_told(lab: Lab, guarded: Guarded, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"OPENSEARCH_CA_BUNDLE: found .*, expected a file"):
        send(lab, guarded.basic, CA_BUNDLE=tmp_path / "missing")
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate", encoding="utf-8")
    with pytest.raises(UsageError, match=r"broken\.pem"):
        send(lab, guarded.basic, CA_BUNDLE=broken)
