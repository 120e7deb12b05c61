"""A program asks the deployment itself, and what it fetches as the site wants it."""

from __future__ import annotations

import urllib.request

import pytest

from pytest_disagg.clients.tool.environment import without_proxy


@pytest.mark.parametrize(
    ("given", "lower", "upper"),
    [
        ({}, "node1", "node1"),
        ({"no_proxy": "hub"}, "hub,node1", "hub,node1"),
        ({"NO_PROXY": "hub"}, "hub,node1", "hub,node1"),
        ({"no_proxy": "a", "NO_PROXY": "b"}, "a,node1", "b,node1"),
        ({"no_proxy": "*"}, "*", "*"),
    ],
)
def test_what_a_site_excepts_stays(given: dict[str, str], lower: str, upper: str) -> None:
    assert without_proxy({**given, "X": "x"}, "http://node1:8000") == {"no_proxy": lower, "NO_PROXY": upper, "X": "x"}


def test_python_goes_past_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy:1")
    assert not urllib.request.proxy_bypass("node1:8000")
    for name, value in without_proxy({}, "http://node1:8000").items():
        monkeypatch.setenv(name, value)
    assert urllib.request.proxy_bypass("node1:8000")
    assert not urllib.request.proxy_bypass("node2:8000")
