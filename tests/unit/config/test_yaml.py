from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml as pyyaml

from pytest_disagg.config import yaml
from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.redact import redact

HERE = Path("case.yaml")
Write = Callable[[str, str], Path]


def parse(text: str) -> dict[str, Any]:
    return yaml.parse(text.encode(), HERE).data


def problems(text: str | bytes) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        yaml.parse(text.encode() if isinstance(text, str) else text, HERE)
    return caught.value.problems


def test_values_are_typed_as_pyyaml_types_them() -> None:
    text = "a: yes\nb: 010\nc: 1e3\nd: 1.5\ne: '1 2 4'\nf: 1,2\ng: 0x10\nh: ~\ni: 2024-01-02\nj: .inf\nk: -1_000\n"
    assert parse(text) == pyyaml.safe_load(text)


def test_base_60_numbers_stay_text_so_that_a_job_time_is_what_was_written() -> None:
    assert parse("job_time: 2:00:00\nx: 1:30\ny: 1:30.5\n") == {"job_time": "2:00:00", "x": "1:30", "y": "1:30.5"}


def test_aliases_and_merge_keys() -> None:
    text = "base: &b {x: 1, y: 2}\none: *b\ntwo: {<<: *b, y: 3}\nthree: {<<: [*b], z: 4}\n"
    data = parse(text)
    assert data["one"] == {"x": 1, "y": 2}
    assert data["two"] == {"x": 1, "y": 3}
    assert data["three"] == {"x": 1, "y": 2, "z": 4}


def test_a_merged_key_that_is_overridden_along_a_chain_is_no_duplicate() -> None:
    data = parse("top:\n  c: {<<: &b {<<: &a {x: 1}, x: 2}, x: 3}\n  d: *b\n")
    assert data["top"] == {"c": {"x": 3}, "d": {"x": 2}}


def test_duplicate_keys_are_all_reported_with_both_lines() -> None:
    found = problems("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\na: 2\n'b': 4\n")
    assert [(p.key, p.line, p.found) for p in found] == [
        ("a", 6, "the key twice (lines 1 and 6)"),
        ("b", 7, "the key twice (lines 2 and 7)"),
        ("b.c", 5, "the key twice (lines 3 and 5)"),
    ]


def test_a_duplicate_in_a_list_in_flow_style() -> None:
    assert [p.key for p in problems("a:\n- {x: 1, x: 2}\n")] == ["a.0.x"]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: [1,\nb: 2\n", 2, "did not find expected ',' or ']'"),
        ("a: 1\n\tb: 2\n", 2, "found a tab character"),
        ("a: *nowhere\n", 1, "undefined alias"),
        ("a: !!python/object:os.system x\n", 1, "could not determine a constructor"),
        ("a: 1\n---\nb: 2\n", 2, "expected a single document"),
        ("a: 1\n b: 2\n", 2, "mapping values are not allowed"),
    ],
)
def test_syntax_errors_have_a_line(text: str, line: int, words: str) -> None:
    (problem,) = problems(text)
    assert problem.line == line
    assert words in problem.found
    assert str(problem).startswith(f"case.yaml:{line}: found ")


@pytest.mark.parametrize(
    ("text", "found"),
    [("", "an empty file"), ("# only a comment\n", "an empty file"), ("- 1\n", "[1]"), ("word\n", "'word'")],
)
def test_a_root_that_is_no_mapping(text: str, found: str) -> None:
    (problem,) = problems(text)
    assert problem.found == found
    assert "a mapping with worker_config or server_configs" in problem.expected


def test_text_that_is_no_utf_8() -> None:
    (problem,) = problems(b"a: \xff\xfe\xfa\n")
    assert (problem.line, problem.expected) == (1, "YAML in UTF-8")


@pytest.mark.parametrize("text", ["2024-13-45", "9" * 5000], ids=["date", "number"])
def test_a_date_or_number_that_is_none_is_a_problem_with_its_line(text: str) -> None:
    (problem,) = problems(f"a: 1\nb:\n  - {{c: {text}}}\n")
    assert (problem.line, problem.key) == (3, "b.0.c")
    assert problem.found.startswith(f"'{text[:10]}")


def test_a_tab_is_said_to_be_one_and_survives_redaction() -> None:
    (problem,) = problems("# é\na:\n\tb: 1\n")
    assert (problem.line, problem.hint) == (3, "indent with spaces")
    assert redact(str(problem)) == str(problem)


def test_an_alias_inside_its_own_anchor() -> None:
    (problem,) = problems("a: &x\n  b: *x\n")
    assert problem.found == "an alias inside its own anchor"


def test_anchors_that_multiply_without_end_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 7)]
    (problem,) = problems("\n".join(lines))
    assert "values after aliases" in problem.found


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: found No such file or directory, expected a readable"):
        yaml.load(tmp_path / "gone.yaml")


def test_lines_of_keys_and_of_their_nearest_parents(write: Write) -> None:
    document = yaml.load(write("a.yaml", "a:\n  b:\n  - x: 1\n  - y: 2\nc: &c\n  d: 1\ne:\n  <<: *c\n"))
    assert document.line(("a", "b", 1, "y")) == 4
    assert document.line(("a", "b", 0)) == 3
    assert document.line(("a", "nothing", "deeper")) == 1
    assert document.line(("e", "d")) == 6
    assert document.line(("nothing",)) is None
    assert document.has(("e", "d"))
    assert not document.has(("a", "b", 2))


def test_check_syntax_builds_nothing_and_finds_what_parsing_finds() -> None:
    assert yaml.check_syntax(b"a: [1, 2]\n", HERE) is None
    problem = yaml.check_syntax(b"a: [1,\nb: 2\n", HERE)
    assert problem is not None
    assert problem.line == 2


def test_everything_works_where_pyyaml_has_no_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(pyyaml, "CSafeLoader")
    pure = _second_copy(monkeypatch)
    assert pure.Loader.__mro__[1] is pyyaml.SafeLoader
    assert pure.parse(b"a: 1\njob_time: 2:00:00\n", HERE).data == {"a": 1, "job_time": "2:00:00"}
    assert pure.check_syntax(b"a: [1, 2]\n", HERE) is None
    assert pure.check_syntax(b"a: [1,\nb: 2\n", HERE).line == 2
    with pytest.raises(ConfigError, match=r"the key twice \(lines 1 and 2\)"):
        pure.parse(b"a: 1\na: 2\n", HERE)


def _second_copy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module under another name, so that the one the other tests use stays as it is."""
    spec = importlib.util.spec_from_file_location("pure_yaml", str(yaml.__file__))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "pure_yaml", module)
    spec.loader.exec_module(module)
    return module
