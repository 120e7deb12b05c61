"""Words, their expansions, and shell text that gives them again."""

from __future__ import annotations

import shlex

import pytest

from pytest_disagg.launch.compat.shelltext import (
    QuoteError,
    first_word,
    in_double_quotes,
    literal,
    shown,
    split,
    unquoted,
    words,
)

TEXTS = ["", "a b", "a\t'b c'  d", "\"a 'b'\" c", "a\\ b", '"a\\"b\\\\"', "'' x", "a'b'\"c\"d", "a\nb", "#x", "a;b"]


@pytest.mark.parametrize("text", TEXTS)
def test_words_are_those_of_a_posix_shell(text: str) -> None:
    assert [shown(placed.word) for placed in words(text)] == shlex.split(text)


@pytest.mark.parametrize("value", ["a b", "it's", '"', "\\", "$HOME", "$(x)", "`x`", "a\nb", "!x", "*", ""])
def test_data_in_double_quotes_is_the_value(value: str) -> None:
    assert shlex.split(in_double_quotes(literal(value)))[0].replace("\\$", "$").replace("\\`", "`") == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--x=$A/${B_1}", '"--x=$A/${B_1}"'),
        ('--x="$A b"', '"--x=$A b"'),
        ("'--x=$A'", '"--x=\\$A"'),
        ("\\$A", '"\\$A"'),
        ("$(x)", '"\\$(x)"'),
        ("${A:-b}", '"\\${A:-b}"'),
        ("a`b`", '"a\\`b\\`"'),
        ("$", '"\\$"'),
    ],
)
def test_only_a_plain_name_is_an_expansion_in_untrusted_text(text: str, expected: str) -> None:
    (placed,) = words(text)
    assert in_double_quotes(placed.word) == expected


@pytest.mark.parametrize("text", ["$(date '+ )' (x))", "${A:-{b}}", "`x y`", "$1", "$?", "$(echo \\))"])
def test_trusted_text_keeps_every_expansion(text: str) -> None:
    placed = first_word(f'"a {text} b" rest', trusted=True)
    assert in_double_quotes(placed.word) == f'"a {text} b"'
    assert [atom.text for atom in placed.word if atom.expansion] == [text]


@pytest.mark.parametrize(("text", "at"), [("a 'b", 2), ('"b', 0), ('a "b\\"', 2)])
def test_a_quote_without_an_end(text: str, at: int) -> None:
    with pytest.raises(QuoteError, match="without an end") as error:
        words(text)
    assert error.value.at == at


def test_an_expansion_without_an_end() -> None:
    with pytest.raises(QuoteError, match=r"\$\( without an end"):
        first_word("$(a", trusted=True)


def test_the_value_of_a_word_is_split_with_the_quotes_in_it() -> None:
    placed = first_word('"pytest -m \\"a b\\" $X \'c d\'"', trusted=True)
    parts = split(placed.word)
    assert [shown(part) for part in parts] == ["pytest", "-m", '"a b"', "$X", "'c d'"]
    assert [shown(unquoted(part)) for part in parts] == ["pytest", "-m", "a b", "$X", "c d"]
