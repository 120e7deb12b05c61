from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.config.overrides import apply_sets, parse_set
from pytest_disagg.config.resolve import load_case
from pytest_disagg.config.settings import Settings
from pytest_disagg.errors import ConfigError, UsageError

Write = Callable[..., Path]
SECTIONS = ("benchmark", "timeouts", "engine")


def apply(data: dict[str, Any], *sets: str) -> dict[str, Any]:
    return apply_sets(data, sets, path=Path("case.yaml"), sections=SECTIONS)[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [("a.b=1", 1), ("a.b=1,2", "1,2"), ("a.b=[1, 2]", [1, 2]), ("a.b=true", True), ("a.b=x=y", "x=y"), ("a.b=", None)],
)
def test_values_are_typed_as_in_a_file(text: str, value: Any) -> None:
    assert parse_set(text) == (("a", "b"), value)


@pytest.mark.parametrize("text", ["a.b", "=1", "a..b=1", ".a=1", "a=[1", "a={"])
def test_what_is_no_override(text: str) -> None:
    with pytest.raises(UsageError, match="--disagg-set"):
        parse_set(text)


def test_the_document_is_not_touched() -> None:
    data = {"a": {"b": [{"c": 1}]}}
    before = copy.deepcopy(data)
    assert apply(data, "a.b.0.c=2") == {"a": {"b": [{"c": 2}]}}
    assert data == before


def test_an_override_reaches_one_place_though_the_file_has_an_alias() -> None:
    shared = {"x": 1}
    assert apply({"a": {"p": shared, "q": shared}}, "a.p.x=2") == {"a": {"p": {"x": 2}, "q": {"x": 1}}}


def test_a_block_of_the_schema_is_made_where_the_file_has_none() -> None:
    assert apply({}, "timeouts.stall_s=5") == {"timeouts": {"stall_s": 5}}
    assert apply({"timeouts": None}, "timeouts.stall_s=5") == {"timeouts": {"stall_s": 5}}
    assert apply({}, "engine=sim") == {"engine": "sim"}


def test_later_overrides_lie_over_earlier_ones() -> None:
    assert apply({"a": {}}, "a.b=1", "a.b=2") == {"a": {"b": 2}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("benchmrk.x=1", r"found no key 'benchmrk', expected one of .* \(did you mean 'benchmark'\?\)"),
        ("a.nope.x=1", r"found no key 'a.nope' in the file, expected one of b, n"),
        ("a.b.3.c=1", r"found index '3' of a.b, expected an index from 0 to 0"),
        ("a.b.x.c=1", r"found index 'x' of a.b"),
        ("a.n.x=1", r"found a.n is 5, expected a mapping or a list"),
    ],
)
def test_a_parent_that_is_not_there(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"case.yaml: --disagg-set {text}: {message}"):
        apply({"a": {"b": [{"c": 1}], "n": 5}}, text)


def test_all_wrong_overrides_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        apply({"a": {}}, "x.y=1", "a.b=2", "z.y=1")
    assert len(caught.value.problems) == 2


def test_a_wrong_value_names_the_option_and_no_line(write: Write, disagg: str) -> None:
    path = write("x.yaml", disagg)
    settings = Settings(sets=("benchmark.multi_round=none", "timeouts.stal_s=1", "hardware.num_gen_servers=0"))
    with pytest.raises(ConfigError) as caught:
        load_case("disagg-e2e-x", path=path, settings=settings, environ={})
    found = {problem.key: str(problem) for problem in caught.value.problems}
    assert found.keys() == {"benchmark.multi_round", "timeouts.stal_s"}
    assert found["benchmark.multi_round"].startswith(f"{path}: benchmark.multi_round: found 'none'")
    assert "set by --disagg-set benchmark.multi_round=none" in found["benchmark.multi_round"]
    assert "did you mean 'stall_s'?; set by --disagg-set timeouts.stal_s=1" in found["timeouts.stal_s"]


def test_a_value_that_the_mode_cannot_use_names_the_option(write: Write, disagg: str) -> None:
    path = write("x.yaml", disagg)
    settings = Settings(sets=("hardware.num_gen_servers=0",))
    with pytest.raises(ConfigError, match=r"num_gen_servers: found 0, .* \(set by --disagg-set hardware.num_gen_se"):
        load_case("disagg-e2e-x", path=path, settings=settings, environ={})


def test_an_override_that_nothing_would_read(write: Write, disagg: str) -> None:
    path = write("x.yaml", f"{disagg}owner: {{name: me}}\n")
    with pytest.raises(ConfigError, match=r"found the unknown key 'concurency', .*did you mean 'concurrency_list'"):
        load_case("disagg-e2e-x", path=path, settings=Settings(sets=("benchmark.concurency=1",)), environ={})
    # Engine keys are the engine's, and what the file itself has may be changed.
    engine_key = Settings(sets=("worker_config.gen.new_key=1", "owner.name=you"))
    case = load_case("disagg-e2e-x", path=path, settings=engine_key, environ={})
    assert case.servers[0].engine_config["new_key"] == 1
