"""Command text that no shell runs: what is refused, and how that is said."""

from __future__ import annotations

import pytest

from pytest_disagg.wrapper.command import interpret
from pytest_disagg.wrapper.shellwords import CommandError

ENVIRONMENT = {
    "PATH": "/bin",
    "EMPTY": "",
    "A": "a",
    "BAD": "x ; y",
    "SELF": "a $SELF",
    "PING": "$PONG",
    "PONG": "$PING",
}

REFUSED = [
    ("pytest; rm x", 7, ";"),
    ("pytest x ;rm", 10, ";"),
    ("a | b", 3, "|"),
    ("a || b", 3, "||"),
    ("a & b", 3, "&"),
    ("a &", 3, "&"),
    ("a &&& b", 3, "&&&"),
    ("a > b", 3, ">"),
    ("a 2>&1", 4, ">&"),
    ("a >> b", 3, ">>"),
    ("a < b", 3, "<"),
    ("a <<EOF", 3, "<<"),
    ("(a)", 1, "("),
    ("a b)", 4, ")"),
    ("a `b`", 3, "`"),
    ('a "x `b`"', 6, "`"),
    ("a $(b)", 3, "$("),
    ('a "x$(b)"', 5, "$("),
    ("a ${B:-c}", 3, "${B:-c}"),
    ("a ${B", 3, "${"),
    ("a ${}", 3, "${}"),
    ("a ${!B}", 3, "${!B}"),
    ("a $1", 3, "$1"),
    ("a $?", 3, "$?"),
    ("a $$", 3, "$$"),
    ("a $@", 3, "$@"),
    ("a $'b'", 3, "$'"),
    ('a $"b"', 3, '$"'),
    ("a 'b", 3, "'"),
    ('a "b', 3, '"'),
    ("a b\\", 4, "\\"),
    ("a # b", 3, "#"),
    ("~/a b", 1, "~"),
    ("A=~/a b", 1, "~"),
    ("A=x:~/a b", 1, "~"),
    ("a b=~", 3, "~"),
    ("a x{1,2}y", 4, "{1,2}"),
    ("a {1..3}", 3, "{1..3}"),
    ("a && b", 3, "&&"),
    ("A=1 && b", 5, "&&"),
    ("&& a", 1, "&&"),
    ("unset A", 1, "unset"),
    ("export A=1", 1, "export"),
    ("unset -v A && b", 7, "-v"),
    ("export -n A && b", 8, "-n"),
    ("export 1A=2 && b", 8, "1A=2"),
    ("A+=1 b", 1, "A+=1"),
    ("A[0]=1 b", 1, "A[0]=1"),
    ("if a", 1, "if"),
    ("! a", 1, "!"),
    ("{ a", 1, "{"),
    ("[[ a ]]", 1, "[["),
    ("time a", 1, "time"),
    ("cd /x", 1, "cd"),
    ("exec a", 1, "exec"),
    ("A=1 source x", 5, "source"),
    ("'eval' a", 1, "eval"),
    (". x", 1, "."),
    ("$UNSET a", 1, "$UNSET"),
    ("a $UNSET", 3, "$UNSET"),
    ('a "x $UNSET"', 3, "$UNSET"),
    ("A=$UNSET a", 1, "$UNSET"),
    ("unset A && b $A", 14, "$A"),
]


@pytest.mark.parametrize(("text", "at", "token"), REFUSED, ids=[row[0] for row in REFUSED])
def test_whatever_needs_a_shell_is_refused_by_token_and_position(text: str, at: int, token: str) -> None:
    with pytest.raises(CommandError) as caught:
        interpret(text, ENVIRONMENT)
    assert str(caught.value).startswith(f"pytestCommand, character {at}: {token!r} ")
    assert caught.value.exit_code == 2


def test_an_error_in_a_variable_names_the_variable() -> None:
    with pytest.raises(CommandError, match=r"^\$BAD in pytestCommand, character 3: ';' is shell syntax"):
        interpret("a $BAD", ENVIRONMENT)


@pytest.mark.parametrize("text", ["$SELF", "a $PING", "A=1 $PONG"])
def test_a_variable_that_holds_itself_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="holds itself"):
        interpret(text, ENVIRONMENT)


@pytest.mark.parametrize("text", ["", "  ", "A=1", "$EMPTY", "unset A && $EMPTY"])
def test_a_command_without_a_program_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="found no program to start"):
        interpret(text, ENVIRONMENT)


def test_a_value_inside_a_word_or_in_quotes_is_data() -> None:
    hostile = "a b; $(touch x) `y` $A 'q"
    argv = interpret('p --x=$H "$H" y$H', {**ENVIRONMENT, "H": hostile}).argv
    assert argv == ("p", f"--x={hostile}", hostile, f"y{hostile}")


def test_a_value_never_becomes_an_assignment_or_an_operator() -> None:
    command = interpret('p "$X"', {"X": "A=1"})
    assert (command.argv, "A" in command.env) == (("p", "A=1"), False)
    assert interpret('"$X" p', {"X": "A=1"}).argv == ("A=1", "p")


def test_an_assignment_that_is_quoted_as_a_whole_is_one() -> None:
    """Case files write ``"PYTHONWARNINGS=ignore::X"`` among their variables; bash would look for such a program."""
    command = interpret('"W=ignore::X y" p', {})
    assert (command.argv, command.env, command.assigned) == (("p",), {"W": "ignore::X y"}, frozenset({"W"}))


def test_the_given_environment_is_not_changed() -> None:
    environ = {"A": "1", "B": "2"}
    assert interpret("unset A && export C=3 && B=4 p", environ).env == {"B": "4", "C": "3"}
    assert environ == {"A": "1", "B": "2"}
