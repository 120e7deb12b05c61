from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_disagg.config.placeholders import fill, is_placeholder, placeholders_in, unfilled, values_for
from pytest_disagg.config.resolve import load_case
from pytest_disagg.config.settings import Settings
from pytest_disagg.errors import ConfigError

Write = Callable[..., Path]

DOCUMENT = {"slurm": {"account": "<account>", "x": 1}, "environment": {"mount": ["<lustre>:/l", "<a b>"]}}


@pytest.mark.parametrize(
    ("value", "is_one"),
    [("<a>", True), (" <a_1> ", True), ("x<a>", False), ("<a b>", False), ("<>", False), (5, False)],
)
def test_what_a_placeholder_is(value: object, is_one: bool) -> None:
    assert is_placeholder(value) is is_one


def test_where_placeholders_are() -> None:
    assert list(placeholders_in(DOCUMENT)) == [
        (("slurm", "account"), "account"),
        (("environment", "mount", 0), "lustre"),
    ]
    assert unfilled(DOCUMENT, ["environment"]) == [("environment.mount.0", "lustre")]
    assert unfilled(DOCUMENT, ["slurm.account", "slurm.x"]) == [("slurm.account", "account")]
    assert unfilled(DOCUMENT, ["slurm.acc"]) == []


def test_filling_copies_and_types() -> None:
    filled = fill({"n": "<n>", "t": "<t>", "s": "a-<t>", "u": "<u>"}, {"n": "8", "t": "null"})
    assert filled == {"n": 8, "t": "null", "s": "a-null", "u": "<u>"}
    assert fill({"a": "<t>"}, {"t": "[x"}) == {"a": "[x"}
    assert DOCUMENT["slurm"]["account"] == "<account>"  # type: ignore[index]


def test_a_given_value_comes_before_the_environment() -> None:
    environ = {"ACCOUNT": "from-env", "LUSTRE": "/lustre", "OTHER": "x"}
    assert values_for(DOCUMENT, {"account": "given", "unused": "y"}, environ) == {
        "account": "given",
        "lustre": "/lustre",
    }


def test_a_case_is_filled_and_typed(write: Write, disagg: str) -> None:
    text = disagg.replace("gpus_per_node: 4", "gpus_per_node: <gpus>")
    path = write("x.yaml", f"{text}slurm: {{account: <account>, job_time: <job_time>}}\n")
    with pytest.raises(ConfigError, match="a placeholder that nothing fills"):
        load_case("disagg-e2e-x", path=path, environ={})
    case = load_case("disagg-e2e-x", path=path, settings=Settings(placeholders={"gpus": "8"}), environ={})
    assert case.gpus_per_node == 8
    assert case.document["slurm"] == {"account": "<account>", "job_time": "<job_time>"}
    assert case.job_time_s is None


def test_who_pays_is_no_part_of_what_is_measured(write: Write, disagg: str) -> None:
    path = write("x.yaml", f"{disagg}slurm: {{account: <account>}}\nenvironment: {{model_path: <model_path>}}\n")

    def digest(**environ: str) -> str:
        return load_case("disagg-e2e-x", path=path, environ=environ).digest

    assert digest(ACCOUNT="a") == digest(ACCOUNT="b") == digest()
    assert digest(MODEL_PATH="/a") != digest(MODEL_PATH="/b")
