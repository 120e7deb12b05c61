"""Plain series files: JSON, CSV, and what is neither."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_disagg.errors import ConfigError
from pytest_disagg.verdict.plain import read_values


@pytest.mark.parametrize(
    "text",
    ['{"values": [1, 2.5, 3]}', "[1, 2.5, 3]", "1\n2.5\n3\n", "date,value\n2026-01-01,1\n2026-01-02,2.5\n\n# x\nc,3\n"],
)
def test_forms(tmp_path: Path, text: str) -> None:
    path = tmp_path / "series"
    path.write_text(text, encoding="utf-8")
    assert read_values(path) == [1.0, 2.5, 3.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"values": [1, "x"]}', "values.1: found 'x', expected a finite number"),
        ('{"value": [1]}', "values"),
        ('{"values": [1', "expected"),
        ("[1, NaN]", "values.1"),
        ("1\n2\nabc\n", ":3: found 'abc'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "series"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        read_values(path)
    assert expected in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_values(tmp_path / "none")
