"""`-k` means what it means to pytest: compared with pytest's own evaluator."""

from __future__ import annotations

import itertools

import pytest
from _pytest.mark.expression import Expression

from pytest_disagg.errors import UsageError
from pytest_disagg.launch.lists.keyword import parse_keyword

NAMES = ("disagg-e2e-gb200_R1_8k1k", "gb200.yaml")
WORDS = ("e2e", "r1", "h100", "GB200.yaml")
SHAPES = (
    "{}",
    "not {}",
    "{} and {}",
    "{} or {}",
    "{} and not {}",
    "not ({} or {})",
    "({} or {}) and {}",
    "{} or {} and {}",
)


@pytest.mark.parametrize("shape", SHAPES)
def test_like_pytest(shape: str) -> None:
    for words in itertools.product(WORDS, repeat=shape.count("{}")):
        text = shape.format(*words)
        expected = Expression.compile(text).evaluate(
            lambda word, /, **_: any(word.lower() in name.lower() for name in NAMES)
        )
        assert parse_keyword(text)(NAMES) is expected, text


@pytest.mark.parametrize("text", ["", "   "])
def test_an_empty_expression_selects_everything(text: str) -> None:
    assert parse_keyword(text)(())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a and", "found the end at column 6, expected a word, not, or an opening parenthesis"),
        ("(a or b", "found the end at column 8, expected a closing parenthesis"),
        ("a b", "found 'b' at column 3, expected and, or, or the end"),
        ("a )", "found ')' at column 3, expected and, or, or the end"),
        ("a & b", "found '&' at column 3"),
        ("or a", "found 'or' at column 1"),
    ],
)
def test_not_an_expression(text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_keyword(text)
    assert message in str(error.value)
