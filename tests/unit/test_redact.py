"""Secrets never come through, in any notation; words that only look like secrets stay."""

from __future__ import annotations

import json

import pytest

from pytest_disagg import redact as module
from pytest_disagg.redact import MASK, redact, redact_data, redact_env, register, register_environ, secret_name

SECRET_NAMES = [
    "HF_TOKEN",
    "TOKEN",
    "SECRET",
    "KEY",
    "API_KEYS",
    "GITHUB_TOKEN_2",
    "OPENAI_KEY",
    "WANDB_API_KEY",
    "AWS_ACCESS_KEY_ID",
    "DB_PWD",
    "DB_PASS",
    "MYSQL_PASSWORD",
    "PASSWD",
    "OPEN_SEARCH_DB_CREDENTIALS_PSW",
    "OPEN_SEARCH_DB_CREDENTIALS_USR",
    "internal_request_auth_key",
    "X-Api-Key",
    "X-Auth-Token",
    "dbPassword",
    "authToken",
    "access_token",
    "refresh_tokens",
    "client_secret",
    "registry.auth",
]
PLAIN_NAMES = [
    "TLLM_BENCHMARK_REQ_QUEUES_SIZE",
    "tokenizer",
    "tokenizer_path",
    "max_tokens",
    "total_token_throughput",
    "num_keys",
    "MONKEY",
    "PWD",
    "OLDPWD",
    "SECRET_FILE",
    "TOKEN_PATH",
    "pad_token",
    "eos_token",
    "first_token",
    "output_token_throughput_per_user",
    "key",
    "keys",
    "sort_key",
    "TOKENIZERS_PARALLELISM",
    "SSH_AUTH_SOCK",
    "num_generation_tokens",
    "token_ids",
    "tokens_per_chunk",
    "author",
    "passed",
    "kv_bytes_per_token",
    "PUBLIC_KEY",
    "SSH_ASKPASS",
    "bypass",
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_secret_names(name: str) -> None:
    assert secret_name(name)


@pytest.mark.parametrize("name", PLAIN_NAMES)
def test_plain_names(name: str) -> None:
    assert not secret_name(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("export HF_TOKEN=s3cr3t", "export HF_TOKEN=***"),
        ("+ HF_TOKEN='a b c' python x", "+ HF_TOKEN='***' python x"),
        ("++ export 'PASSWORD=x y z' A=1", "++ export 'PASSWORD=***' A=1"),
        ('["env", "HF_TOKEN=s3cr3t", "A=1"]', '["env", "HF_TOKEN=***", "A=1"]'),
        ('MY_SECRET="a\\"b"def next', 'MY_SECRET="***" next'),
        ("PASSWORD='it'\"'\"'s' next", "PASSWORD='***' next"),
        ("SECRET=a,b;c", "SECRET=***"),
        ('{"token":"s3cr3t","x":1,"max_tokens":5}', '{"token":"***","x":1,"max_tokens":5}'),
        ('{"auth_key": 12345, "n": 2}', '{"auth_key": "***", "n": 2}'),
        ('{"api_keys": ["a","b"], "z": 1}', '{"api_keys": "***", "z": 1}'),
        ('{\\"token\\": \\"s3cr3t\\", \\"n\\": 1}', '{\\"token\\": \\"***\\", \\"n\\": 1}'),
        ("{'api_key': 's3cr3t', 'k': 2}", "{'api_key': '***', 'k': 2}"),
        ("environ: [('HF_TOKEN', 's3cr3t')]", "environ: [('HF_TOKEN', '***')]"),
        ('["--token", "s3cr3t", "-n"]', '["--token", "***", "-n"]'),
        ('{"name": "HF_TOKEN", "value": "s3cr3t"}', '{"name": "HF_TOKEN", "value": "***"}'),
        ("- name: HF_TOKEN\n  value: s3cr3t\n- name: B", "- name: HF_TOKEN\n  value: ***\n- name: B"),
        ("password: correct horse battery\nuser: x", "password: ***\nuser: x"),
        ("auth: |\n  line1\n\n  line2\nnext: 3", "auth: ***\nnext: 3"),
        ("worker_env_var: A=1 HF_TOKEN=s3cr3t B=2", "worker_env_var: A=1 HF_TOKEN=*** B=2"),
        ("--api-key s3cr3t --n 3 --password=xyz", "--api-key *** --n 3 --password=***"),
        ("curl -u me:s3cr3t host", "curl -u me:*** host"),
        ("https://u:p@ss@host/x", "https://***@host/x"),
        ("http://u:a/b@h:1/", "http://***@h:1/"),
        ("https://ghtoken@github.com/x.git", "https://***@github.com/x.git"),
        ("http://h/p?a=1&sig=s3cr3t&b=2", "http://h/p?a=1&sig=***&b=2"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("'Authorization': 'Basic dXNlcjpw', 'x': 1", "'Authorization': '***', 'x': 1"),
        ("got Bearer abc.def-123", "got Bearer ***"),
        ("Set-Cookie: a=b; c=d\nX: y", "Set-Cookie: ***\nX: y"),
        ("with hf_abcdefghijklmnopqrst now", "with *** now"),
        ("with sk-proj-abcdefgh12345678 now", "with *** now"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nok", "***\nok"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nMII\ncut off", "***"),
    ],
)
def test_masked(text: str, expected: str) -> None:
    assert redact(text) == expected
    assert redact(expected) == expected, "a second pass changes nothing"


@pytest.mark.parametrize(
    "text",
    [
        "iter = 7, states = {'num_ctx_requests': 0, 'num_generation_tokens': 8}",
        "Output token throughput (tok/s):         735.01",
        "total_token_throughput=5.5 TLLM_BENCHMARK_REQ_QUEUES_SIZE=64 MONKEY=banana",
        '{"max_tokens": 32, "tokenizer": "x", "num_keys": 3, "key": "value"}',
        "HF_TOKEN=$HF_TOKEN HF_TOKEN=${HF_TOKEN} model_path: <model_path>",
        "http://host:8000/path?mail=a@b.c and http://127.0.0.1:80/v1",
        "a.yaml:3: benchmark.concurrency_list: found 'x', expected a list (did you mean 'key'?)",
        "disagg-e2e-gb200_deepseek-r1-fp4_1k1k_con64_ctx1_tp4_gen1_tp8",
        "disk-usage-1234567890abcdef tokens: 5 unexpected token in line 3",
        "test_configs/token-bench.yaml: ok",
    ],
)
def test_kept(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("seed", ["token", "token=", "://a", "[token", '"', "\\", "-", " \t", "authorization:", "a"])
def test_long_runs_are_linear(seed: str) -> None:
    """A pattern that backtracks over the whole text would not come to an end here."""
    text = seed * 60_000
    assert redact(redact(text)) == redact(text)


def test_a_log_of_megabytes_keeps_its_lines() -> None:
    line = "[I] iter = 17, prev_device_step_time = 5.0 ms, states = {'num_generation_tokens': 8}, tokenizer: x\n"
    log = line * 20_000 + "HF_TOKEN=s3cr3t\n"
    assert redact(log) == line * 20_000 + "HF_TOKEN=***\n"


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> module._Known:
    fresh = module._Known()
    monkeypatch.setattr(module, "_known", fresh)
    return fresh


def test_registered_values_are_masked_wherever_they_are(known: module._Known) -> None:
    register('pa"ss/wörd')
    assert redact('got pa"ss/wörd!') == "got ***!"
    assert redact("http://h/pa%22ss%2Fw%C3%B6rd") == "http://h/***"
    assert redact('a pa\\"ss/wörd b') == "a *** b"


def test_values_of_this_process_are_known_without_asking(known: module._Known, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "qwertzuiop")
    monkeypatch.setenv("SOME_SIZE", "asdfghjkl")
    assert redact("x qwertzuiop asdfghjkl") == f"x {MASK} asdfghjkl"


def test_short_and_ordinary_values_are_not_searched_for(known: module._Known) -> None:
    register_environ({"A_TOKEN": "1", "B_TOKEN": "true", "C_TOKEN": "8080", "D_TOKEN": "$OTHER", "E_TOKEN": "longer1"})
    assert redact("1 true 8080 $OTHER longer1") == f"1 true 8080 $OTHER {MASK}"


def test_values_of_several_lines_are_found_line_by_line(known: module._Known) -> None:
    register("first-line\nsecond-line")
    assert redact("log: second-line") == f"log: {MASK}"


def test_environment() -> None:
    environ = {"B_TOKEN": "x", "EMPTY_TOKEN": "", "A": "1", "URL": "http://u:p@h/", "ARGS": "--token abcdef"}
    masked = {"B_TOKEN": MASK, "EMPTY_TOKEN": "", "A": "1", "URL": "http://***@h/", "ARGS": "--token ***"}
    assert redact_env(environ) == masked
    assert list(redact_env(environ)) == list(environ)


def test_plain_data_stays_json() -> None:
    data = {"environment": {"x": "HF_TOKEN=abc", 3: ("a", None)}, "credentials": {"user": "u"}, "max_tokens": 5}
    masked = redact_data(data)
    assert masked == {"environment": {"x": "HF_TOKEN=***", "3": ["a", None]}, "credentials": MASK, "max_tokens": 5}
    json.dumps(masked)


def test_a_heading_between_rules_is_no_flag() -> None:
    heading = "---------------Inter-token Latency----------------"
    assert redact(heading) == heading
