"""The command line and environment of a role: everything it needs, nothing that leaked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_disagg.launch.command import PytestCommand, child_environment, generated_test, role_options

NODE = "/project/tests/test_perf.py::test_e2e[disagg-e2e-x y'; $(z)]"
COMMAND = PytestCommand(
    node=NODE,
    rootdir=Path("/project"),
    inifile=Path("/project/pyproject.toml"),
    options=("--disagg-engine=sim", "--disagg-set=a.b=c d"),
)


def after(argv: list[str], flag: str) -> list[str]:
    """What follows each ``flag``."""
    return [argv[at + 1] for at, word in enumerate(argv) if word == flag]


def test_a_role_starts_the_very_same_test_and_nothing_else() -> None:
    argv = COMMAND.argv(Path("/run/junit/GEN_0.xml"))
    assert argv[:3] == [sys.executable, "-m", "pytest"]
    assert argv[-1] == NODE
    assert argv[-3:-1] == list(COMMAND.options)
    assert after(argv, "-c") == ["/project/pyproject.toml"]
    assert "--rootdir=/project" in argv
    assert "--junitxml=/run/junit/GEN_0.xml" in argv
    assert [word for word in argv[3:] if not word.startswith("-")][-1] == NODE


def test_a_role_has_no_cache_no_xdist_and_no_addopts() -> None:
    argv = COMMAND.argv(Path("r.xml"))
    assert after(argv, "-p") == ["no:cacheprovider", "no:xdist", "pytest_disagg.plugin"]
    assert after(argv, "-o") == ["addopts=", "strict_config=false"]
    assert "--capture=no" in argv


def test_what_is_reset_lies_over_what_the_user_set() -> None:
    command = PytestCommand(
        node=NODE,
        rootdir=Path("/project"),
        inifile=None,
        options=(),
        override_ini=("addopts=-n 4", "junit_family=xunit1"),
        confcutdir=Path("/project/tests"),
        import_mode="prepend",
        plugins=("my_engine",),
    )
    argv = command.argv(Path("r.xml"))
    assert after(argv, "-o")[:2] == ["addopts=-n 4", "junit_family=xunit1"]
    assert [item for item in after(argv, "-o") if item.startswith("addopts=")][-1] == "addopts="
    assert after(argv, "-p")[-1] == "my_engine"
    assert after(argv, "-c") == []
    assert "--confcutdir=/project/tests" in argv
    assert "--import-mode=prepend" in argv


def test_an_argument_is_one_word_whatever_it_holds() -> None:
    assert COMMAND.argv(Path("a b.xml"))[-4:] == ["--junitxml=a b.xml", *COMMAND.options, NODE]


@pytest.mark.parametrize(
    "name",
    [
        "PYTEST_ADDOPTS",
        "PYTEST_CURRENT_TEST",
        "PYTEST_PLUGINS",
        "PYTEST_DEBUG",
        "PYTEST_XDIST_WORKER",
        "PYTEST_XDIST_WORKER_COUNT",
        "PYTEST_XDIST_TESTRUNUID",
        "COV_CORE_SOURCE",
        "COVERAGE_PROCESS_START",
    ],
)
def test_variables_of_another_pytest_session_are_dropped(name: str) -> None:
    env = child_environment({name: "x", "PATH": "/bin"}, role="GEN_0", run_id="r1")
    assert name not in env
    assert env["PATH"] == "/bin"


def test_role_and_run_lie_over_what_was_there() -> None:
    around = {"DISAGG_SERVING_TYPE": "BENCHMARK", "DISAGG_RUN_ID": "old", "PYTHONUNBUFFERED": ""}
    before = dict(around)
    env = child_environment(around, role="CTX_1", run_id="new")
    assert (env["DISAGG_SERVING_TYPE"], env["DISAGG_RUN_ID"], env["PYTHONUNBUFFERED"]) == ("CTX_1", "new", "1")
    assert around == before


def test_options_of_a_role_are_single_words() -> None:
    values = {"engine": "sim", "set": ["a.b=1", "a.c=x y"], "baseline": None, "config-dir": ["/a", "/b c"], "list": []}
    assert role_options(values) == (
        "--disagg-engine=sim",
        "--disagg-set=a.b=1",
        "--disagg-set=a.c=x y",
        "--disagg-config-dir=/a",
        "--disagg-config-dir=/b c",
    )


def test_a_generated_test_is_what_a_user_would_write(tmp_path: Path) -> None:
    test, ini = generated_test(tmp_path)
    assert ini.read_text() == "[pytest]\n"
    assert test.read_text().endswith("def test_e2e(disagg_case):\n    disagg_case.run()\n")
    compile(test.read_text(), str(test), "exec")


def test_a_session_of_the_user_does_not_find_a_generated_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_own(): pass")
    generated, _ = generated_test(pytester.mkdir("disagg-runs"))
    assert pytester.runpytest("--collect-only", "-q").parseoutcomes() == {"test": 1}
    assert generated.exists()
