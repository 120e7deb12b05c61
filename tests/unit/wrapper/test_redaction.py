"""No secret in what the programs print."""

from __future__ import annotations

import pytest

from pytest_disagg import redact as theirs
from pytest_disagg.wrapper import redaction
from pytest_disagg.wrapper.redaction import redact, redacted_environment, secret_name

NAMES = [
    *(
        "HF_TOKEN",
        "TOKEN",
        "SECRET",
        "KEY",
        "API_KEYS",
        "GITHUB_TOKEN_2",
        "WANDB_API_KEY",
        "AWS_ACCESS_KEY_ID",
        "DB_PWD",
    ),
    *("DB_PASS", "OPEN_SEARCH_DB_CREDENTIALS_PSW", "internal_request_auth_key", "X-Api-Key", "dbPassword"),
    *("authToken", "GITHUB_CLONE_TOKEN", "S3_SECRET_KEY", "registry.auth", "PASSWD", "refresh_tokens", "client_secret"),
    *("PATH", "PWD", "SECRET_FILE", "max_tokens", "tokenizer", "total_token_throughput", "num_keys", "MONKEY", "key"),
    *("TOKENIZERS_PARALLELISM", "SSH_AUTH_SOCK", "PUBLIC_KEY", "bypass", "kv_bytes_per_token", "author", "first_token"),
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_secret_exactly_where_the_package_says_so(name: str) -> None:
    assert secret_name(name) is theirs.secret_name(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("export HF_TOKEN=s3cr3t A=1", "export HF_TOKEN=*** A=1"),
        ("HF_TOKEN='a b c' python x", "HF_TOKEN='***' python x"),
        ("'HF_TOKEN=a b c' python x", "'HF_TOKEN=***' python x"),
        ("SECRET=a,b;c", "SECRET=***"),
        ("p '--password=a b' c", "p '--password=***' c"),
        ('{"token": "s3cr3t", "max_tokens": 5}', '{"token": "***", "max_tokens": 5}'),
        ("password: correct horse\nuser: x", "password: ***\nuser: x"),
        ("--api-key s3cr3t --n 3 --password=xyz", "--api-key *** --n 3 --password=***"),
        ("https://u:p@ss@host/x", "https://***@host/x"),
        ("https://ghtoken@github.com/x.git", "https://***@github.com/x.git"),
        ("http://h/p?a=1&sig=s3cr3t&b=2", "http://h/p?a=1&sig=***&b=2"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("got Bearer abc.def-123", "got Bearer ***"),
        ("with hf_abcdefghijklmnopqrst now", "with *** now"),
        ("curl -u me:s3cr3t host", "curl -u me:*** host"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nok", "***\nok"),
        ("HF_TOKEN=$HF_TOKEN", "HF_TOKEN=$HF_TOKEN"),
        ("pytest 'x.py::test_e2e[disagg-e2e-a_1]' --max-tokens 5 http://h:80/x", None),
    ],
)
def test_masked_once_and_for_all(text: str, expected: str | None) -> None:
    masked = redact(text)
    assert masked == (text if expected is None else expected)
    assert redact(masked) == masked


def test_values_of_the_environment_are_masked_wherever_they_occur(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_values", None)
    monkeypatch.setenv("MY_PASSWORD", "p w/1")
    monkeypatch.setenv("SHORT_TOKEN", "abc")
    monkeypatch.setenv("FLAG_SECRET", "true")
    try:
        assert redact("got p w/1 or p%20w%2F1, abc, true") == "got *** or ***, abc, true"
    finally:
        monkeypatch.setattr(redaction, "_values", None)


def test_an_environment_is_sorted_and_masked() -> None:
    lines = redacted_environment({"B": "https://u:p@h/", "A_TOKEN": "x", "EMPTY_TOKEN": "", "A": "1"})
    assert lines == ["A=1", "A_TOKEN=***", "B=https://***@h/", "EMPTY_TOKEN="]
