"""The pytest command of a prefix, and the forms of it that roles get."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_disagg.errors import ConfigError
from pytest_disagg.launch.compat.commandline import PytestCommandText, find
from pytest_disagg.launch.compat.shelltext import shown

PATH = Path("prefix.sh")
FULL = (
    "LLM=/s /s/trtllm-llmapi-launch pytest -vv --csv=a.csv --cov x --cov-report=html --periodic-junit t.py::a[b-c] "
    "--periodic-junit-xmlpath r.xml --periodic-save-unfinished-test --timeout 30 --output-dir=$ws/ -o junit_logging=all"
)


def command(text: str) -> PytestCommandText:
    return find(f'export pytestCommand="{text}"\n', PATH)


def text(found: PytestCommandText) -> str:
    return shown(found.joined())


def test_what_each_role_does_without() -> None:
    found = command(FULL)
    assert text(found) == FULL
    left = "pytest -vv t.py::a[b-c] --timeout 30 --output-dir=$ws/ -o junit_logging=all"
    assert text(found.without_results()) == f"LLM=/s /s/trtllm-llmapi-launch {left}"
    assert text(found.without_results().without_launcher()) == f"LLM=/s {left}"
    assert text(found.without_launcher()) == FULL.replace("/s/trtllm-llmapi-launch ", "")


def test_a_dropped_option_takes_its_value_but_no_test() -> None:
    assert text(command("pytest --csv a.csv b.py").without_results()) == "pytest b.py"
    assert text(command("pytest --cov t.py::x").without_results()) == "pytest t.py::x"
    assert text(command("pytest --periodic-junit dir").without_results()) == "pytest dir"
    assert text(command("pytest --csv -v").without_results()) == "pytest -v"


@pytest.mark.parametrize(("name", "value"), [("--timeout", "30"), ("--output-dir", "$ws/"), ("--splits", None)])
def test_options(name: str, value: str | None) -> None:
    found = command(FULL).option(name)
    assert (None if found is None else shown(found)) == value


def test_words_before_the_program() -> None:
    wrapper = ["nsys", "-o", "a %q{X}"]
    assert text(command("A=1 B='x y' prog pytest").below(wrapper)) == "A=1 B='x y' nsys -o 'a %q{X}' prog pytest"
    assert text(command("unset X && export A=1 && B=2 pytest").below(["w"])) == (
        "unset X && export A=1 && B=2 w pytest"
    )


def test_the_last_assignment_counts() -> None:
    prefix = "export pytestCommand='pytest a'\nx=1\n  pytestCommand=\"pytest \\\n b\" # why\necho done\n"
    found = find(prefix, PATH)
    assert (text(found), found.line) == ("pytest b", 3)


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("echo hello\n", "prefix.sh: pytestCommand: found no such line, expected export pytestCommand="),
        ('x=1\nexport pytestCommand=""\n', "prefix.sh:2: pytestCommand: found nothing"),
        ('x=1\nexport pytestCommand="a\nb\n', 'prefix.sh:2: pytestCommand: found " without an end'),
        (
            'export pytestCommand="A="b c" pytest"\n',
            "prefix.sh:1: pytestCommand: found 'c\" pytest\"', expected the end",
        ),
    ],
)
def test_a_prefix_that_cannot_be_used(prefix: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        find(prefix, PATH)
    assert message in str(error.value)
