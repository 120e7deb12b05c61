"""docs/jenkins/Jenkinsfile against what it calls: the options of `disagg run`, the commands of run_list.sh."""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

import pytest

from pytest_disagg.cli import doctor, run
from pytest_disagg.records.ci import VARIABLES

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "jenkins"
PIPELINE = (FOLDER / "Jenkinsfile").read_text(encoding="utf-8")
PARAMETERS = re.findall(r"^ *(?:string|booleanParam)\(name: '(\w+)'", PIPELINE, re.MULTILINE)
SCRIPTS = re.findall(r"'''(.*?)'''", PIPELINE, re.DOTALL)


def options_of(module: object) -> set[str]:
    subparsers = argparse.ArgumentParser().add_subparsers()
    module.add_parser(subparsers)  # type: ignore[attr-defined]
    (parser,) = subparsers.choices.values()
    return {option for action in parser._actions for option in action.option_strings}


def test_its_options_exist() -> None:
    arguments, check = SCRIPTS
    assert set(re.findall(r"--[a-z-]+", arguments)) <= options_of(run)
    assert set(re.findall(r"--[a-z-]+", check)) <= options_of(doctor)


def test_its_commands_exist() -> None:
    script = (FOLDER / "run_list.sh").read_text(encoding="utf-8")
    called = set(re.findall(r"run_list\.sh (\w+)", PIPELINE))
    assert called == {"run", "finish", "limit", "remove"}
    for name in called:
        assert re.search(rf"^{name}\(\) {{$", script, re.MULTILINE), name


@pytest.mark.parametrize("script", SCRIPTS)
def test_parameters_are_data(script: str) -> None:
    """Parameters reach a shell through the environment, in double quotes: none is pasted into its text."""
    assert "${" not in script
    used = set(re.findall(r"\$(\w+)", script))
    assert used <= set(PARAMETERS)
    assert used == set(re.findall(r'"\$(\w+)"', script))


def test_arguments_from_parameters() -> None:
    """The shell text itself, run: empty parameters add nothing, hostile ones stay one word."""
    values = dict.fromkeys(PARAMETERS, "")
    values |= {"TEST_LIST": "a b'$(date).txt", "RETRIES": "1", "MAX_JOBS": "4", "STAGE": "GB200 x"}
    done = subprocess.run(
        ["sh", "-e", "-c", SCRIPTS[0] + 'printf "<%s>" "$@"'], env=values, capture_output=True, text=True, check=True
    )
    assert done.stdout == "<--test-list><a b'$(date).txt><--retries><1><--max-jobs><4><--stage-name><GB200 x>"


def test_the_page_names_every_variable() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in VARIABLES if f"`{name}`" not in page] == []
