"""Environment strings, Slurm times, digests, and the words of messages."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from pytest_disagg.config.digest import digest
from pytest_disagg.config.env import join_env, parse_env
from pytest_disagg.config.jobtime import job_seconds
from pytest_disagg.config.text import did_you_mean, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, {}),
        ("", {}),
        ("  A=1   B=2 ", {"A": "1", "B": "2"}),
        ('A="x y" B=z', {"A": "x y", "B": "z"}),
        (
            '"PYTHONWARNINGS=ignore::DeprecationWarning:cutlass.cute.core" X=1',
            {"PYTHONWARNINGS": "ignore::DeprecationWarning:cutlass.cute.core", "X": "1"},
        ),
        ("A='it is' B=", {"A": "it is", "B": ""}),
        ("A=b=c", {"A": "b=c"}),
        ("A=$HOME/`x`", {"A": "$HOME/`x`"}),
        ("A=1 A=2", {"A": "2"}),
    ],
)
def test_environment_strings(text: str | None, expected: dict[str, str]) -> None:
    assert parse_env(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1 LOOSE B=2", "the word 'LOOSE' without '='"),
        ("1A=2", "name '1A'"),
        ('A="x', "No closing quotation"),
    ],
)
def test_environment_strings_that_lose_nothing_silently(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_env(text)


def test_the_later_environment_string_wins() -> None:
    assert parse_env(join_env("A=1 B=1", None, "", "A=2")) == {"A": "2", "B": "1"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400),
        (90, 5400),
        ("1:30", 90),
        ("02:00:00", 7200),
        ("1-0", 86400),
        ("1-02:03", 86400 + 2 * 3600 + 3 * 60),
        ("2-00:00:05", 2 * 86400 + 5),
        ("UNLIMITED", None),
        ("infinite", None),
        ("0", None),
    ],
)
def test_slurm_times(text: str | int, seconds: float | None) -> None:
    assert job_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "two hours", "1:2:3:4", "1-", "-5", "1.5", "2h"])
def test_what_is_no_slurm_time(text: str) -> None:
    with pytest.raises(ValueError, match="a Slurm time: minutes, MM:SS, HH:MM:SS"):
        job_seconds(text)


def test_a_digest_depends_on_content_alone() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": (1, 2), "a": 1})
    values = [{"a": 1}, {"a": "1"}, {"a": True}, {"a": 1.5}, {1: "a"}, {"1": "a"}, {"a": datetime.date(2024, 1, 2)}]
    assert len({digest(value) for value in values}) == len(values)


def test_a_value_is_shown_as_the_file_has_it() -> None:
    values: list[Any] = [None, True, 4, "x", {}, [1, 2], [{}]]
    assert [shown(value) for value in values] == [
        "null",
        "true",
        "4",
        "'x'",
        "an empty mapping",
        "[1, 2]",
        "a list of 1",
    ]
    assert len(shown("x" * 500)) == 80


def test_a_suggestion_is_made_only_for_what_is_close() -> None:
    assert did_you_mean("acount", ["account", "partition"]) == "did you mean 'account'?"
    assert did_you_mean("zzz", ["account"]) == ""
    assert did_you_mean("account", ["account"]) == ""
