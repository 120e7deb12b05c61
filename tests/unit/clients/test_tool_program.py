"""Where a load generator's program is looked for, and what is said where it is not."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_disagg.clients.tool.program import Program
from pytest_disagg.errors import UsageError

COMMAND = Program(client="some_bench", distribution="some", install="pip install some", command="some")
MODULE = Program(client="some_bench", distribution="pytest", install="pip install pytest", module="pytest.some.module")


def executable(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_a_command_is_found_on_path(tmp_path: Path) -> None:
    program = executable(tmp_path / "some")
    assert COMMAND.argv({"PATH": str(tmp_path)}) == (str(program),)
    assert COMMAND.unavailable({"PATH": str(tmp_path)}) is None


def test_a_missing_command_is_said_with_what_installs_it(tmp_path: Path) -> None:
    assert COMMAND.unavailable({"PATH": str(tmp_path)}) == (
        "the program some is not on PATH: pip install some, or set DISAGG_SOME_BENCH to where it is installed"
    )


def test_the_variable_names_a_virtual_environment_or_the_program(tmp_path: Path) -> None:
    program = executable(tmp_path / "env" / "bin" / "some")
    for given in (tmp_path / "env", program):
        assert COMMAND.argv({"PATH": "", "DISAGG_SOME_BENCH": str(given)}) == (str(program),)


def test_a_relative_path_means_this_folder_wherever_the_program_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = executable(tmp_path / "env" / "bin" / "some")
    monkeypatch.chdir(tmp_path)
    assert COMMAND.argv({"PATH": "", "DISAGG_SOME_BENCH": "env"}) == (str(program),)
    assert COMMAND.argv({"PATH": "env/bin"}) == (str(program),)


def test_what_one_would_type_needs_nothing_installed(tmp_path: Path) -> None:
    assert COMMAND.typed({}) == ("some",)
    assert MODULE.typed({}) == ("python", "-m", "pytest.some.module")
    (tmp_path / "env").mkdir()
    assert COMMAND.typed({"DISAGG_SOME_BENCH": str(tmp_path / "env")}) == (str(tmp_path / "env" / "bin" / "some"),)
    assert MODULE.typed({"DISAGG_SOME_BENCH": "/x/python"}) == ("/x/python", "-m", "pytest.some.module")


@pytest.mark.parametrize("given", ["nothing", "env"])
def test_a_variable_that_names_something_else(tmp_path: Path, given: str) -> None:
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (tmp_path / "env" / "bin" / "some").write_text("not executable")
    reason = COMMAND.unavailable({"PATH": "", "DISAGG_SOME_BENCH": str(tmp_path / given)})
    assert reason is not None
    assert reason.startswith(f"DISAGG_SOME_BENCH: found '{tmp_path / given}")
    assert reason.endswith("expected a virtual environment with bin/some, or that program; pip install some")


def test_a_module_is_started_by_this_interpreter_or_the_one_that_is_named(tmp_path: Path) -> None:
    assert MODULE.argv({}) == (sys.executable, "-m", "pytest.some.module")
    other = executable(tmp_path / "env" / "bin" / "python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    assert MODULE.argv({"DISAGG_SOME_BENCH": str(tmp_path / "env")}) == (str(other), "-m", "pytest.some.module")


def test_an_interpreter_without_the_package() -> None:
    missing = Program(client="x", distribution="nobodys", install="pip install nobodys", module="nobodys.serve")
    with pytest.raises(UsageError, match=r"has no package nobodys: pip install nobodys, or set DISAGG_X to where"):
        missing.argv({})


def test_a_checkout_in_this_folder_is_no_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nobodys").mkdir()
    (tmp_path / "nobodys" / "__init__.py").write_text("")
    monkeypatch.chdir(tmp_path)
    other = executable(tmp_path / "python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    missing = Program(client="y", distribution="nobodys", install="pip install nobodys", module="nobodys.serve")
    with pytest.raises(UsageError, match="has no package nobodys"):
        missing.argv({"DISAGG_Y": str(other)})


def test_the_version_is_that_of_the_interpreter_beside_the_program(tmp_path: Path) -> None:
    assert MODULE.version({}) == pytest.__version__
    executable(tmp_path / "bin" / "some")
    environ = {"PATH": "", "DISAGG_SOME_BENCH": str(tmp_path)}
    assert COMMAND.version(environ) == "unknown"
    executable(tmp_path / "bin" / "python", '#!/bin/sh\n[ "$3" = some ] && echo 1.2.3\n')
    assert COMMAND.version(environ) == "1.2.3"
