"""Placeholders are filled in finished words: a value is data, a missing one is an error."""

from __future__ import annotations

import pytest

from pytest_disagg.wrapper.command import Command, interpret
from pytest_disagg.wrapper.placeholders import fill, given_values
from pytest_disagg.wrapper.shellwords import CommandError


def never() -> str:
    raise AssertionError("asked for a value that no placeholder needs")


def filled(text: str, value: str, **environ: str) -> Command:
    return fill(interpret(text, environ), {"TRTLLM_WHL_PATH": lambda: value}, {})


@pytest.mark.parametrize(
    "value", ["/a b/c", 'it\'s "x"', "a\nb", "$HOME `x` ; &&", "", "\\1 \\g<0>", "__PLACEHOLDER_B__"]
)
def test_any_value_survives(value: str) -> None:
    command = filled("K=__PLACEHOLDER_TRTLLM_WHL_PATH__ p --cov=__PLACEHOLDER_TRTLLM_WHL_PATH__/x y", value)
    assert command.argv == ("p", f"--cov={value}/x", "y")
    assert command.env["K"] == value


def test_a_placeholder_in_a_nested_variable_is_filled() -> None:
    command = filled("$P", "/w", P="A=__PLACEHOLDER_TRTLLM_WHL_PATH__ p __PLACEHOLDER_TRTLLM_WHL_PATH__")
    assert (command.argv, command.env["A"]) == (("p", "/w"), "/w")


def test_a_variable_that_the_command_does_not_set_is_left_alone() -> None:
    assert filled("p", "/w", OTHER="__PLACEHOLDER_X__").env["OTHER"] == "__PLACEHOLDER_X__"


def test_a_placeholder_without_a_value_is_an_error_that_names_it() -> None:
    with pytest.raises(CommandError, match="found __PLACEHOLDER_NOPE__ and no value for it, expected one of A"):
        fill(interpret("p __PLACEHOLDER_NOPE__", {}), {"A": never}, {})


def test_a_value_is_looked_up_only_where_it_is_needed() -> None:
    assert fill(interpret("p", {}), {"TRTLLM_WHL_PATH": never}, {}).argv == ("p",)


def test_a_given_value_must_have_its_place_in_the_command_that_owns_the_results() -> None:
    command = interpret("p", {})
    with pytest.raises(CommandError, match="DISAGG_PLACEHOLDER_A is set, and __PLACEHOLDER_A__ does not occur"):
        fill(command, {}, {"A": "1"})
    assert fill(command, {}, {"A": "1"}, all_must_occur=False).argv == ("p",)


def test_given_values_come_from_the_environment() -> None:
    assert given_values({"DISAGG_PLACEHOLDER_A_B": "x y", "OTHER": "z"}) == {"A_B": "x y"}
