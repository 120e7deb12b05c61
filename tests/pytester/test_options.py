"""Where a value comes from: command line, then ini file, then environment, then default."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from pytest_disagg.plugin.options import OPTIONS
from pytest_disagg.plugin.values import Resolved, resolve
from tests.pytester.conftest import AGGR, write_config, write_ini


@dataclass(frozen=True)
class Row:
    """One option with a value for each source; ``{ini}`` and ``{cwd}`` stand for the two directories."""

    name: str
    command_line: tuple[str, ...]
    ini: str
    env: tuple[str, str] | None
    expected_line: object
    expected_ini: object
    expected_env: object
    default: object


# The ini file lies in {ini}, the session is started in {cwd} below it.
ROWS = (
    Row("engine", ("--disagg-engine=a",), "b", ("DISAGG_ENGINE", "c"), "a", "b", "c", None),
    Row("client", ("--disagg-client", "a"), "b", ("DISAGG_CLIENT", "c"), "a", "b", "c", None),
    Row("interface", ("--disagg-interface=a",), "b", ("DISAGG_INTERFACE", "c"), "a", "b", "c", None),
    Row("stage-name", ("--disagg-stage-name=a",), "b", ("stageName", "c"), "a", "b", "c", ""),
    Row(
        "rehearse-limit",
        ("--disagg-rehearse-limit=osl=1",),
        "osl=2",
        ("DISAGG_REHEARSE_LIMIT", "osl=3"),
        "osl=1",
        "osl=2",
        "osl=3",
        None,
    ),
    Row("repeat", ("--disagg-repeat=2",), "3", ("DISAGG_REPEAT", "4"), 2, 3, 4, 1),
    Row("policy", ("--disagg-policy=pre",), "post", ("DISAGG_POLICY", "baseline"), "pre", "post", "baseline", None),
    Row(
        "reference-branch", ("--disagg-reference-branch=a",), "b", ("PERF_BASELINE_BRANCH", "c"), "a", "b", "c", "main"
    ),
    Row("html", ("--disagg-html=a",), "b", ("DISAGG_HTML", "c"), "{cwd}/a", "{ini}/b", "{cwd}/c", None),
    Row(
        "history",
        ("--disagg-history=a",),
        "b",
        ("DISAGG_HISTORY", "c"),
        "{cwd}/a",
        "{ini}/b",
        "{cwd}/c",
        "{data}/pytest-disagg",
    ),
    Row(
        "require-upload",
        ("--disagg-require-upload",),
        "true",
        ("DISAGG_REQUIRE_UPLOAD", "1"),
        True,
        True,
        True,
        False,
    ),
    Row("keep", ("--disagg-keep",), "true", ("DISAGG_KEEP", "1"), True, True, True, False),
    Row(
        "work-dir",
        ("--disagg-work-dir=a",),
        "b",
        ("DISAGG_WORK_DIR", "c"),
        "{cwd}/a",
        "{ini}/b",
        "{cwd}/c",
        "{ini}/disagg-runs",
    ),
    Row("llm-src", ("--disagg-llm-src=a",), "b", ("DISAGG_LLM_SRC", "c"), "{cwd}/a", "{ini}/b", "{cwd}/c", None),
    Row(
        "models-root", ("--disagg-models-root=a",), "b", ("LLM_MODELS_ROOT", "c"), "{cwd}/a", "{ini}/b", "{cwd}/c", None
    ),
    Row("baseline", ("--disagg-baseline=a",), "/b", ("DISAGG_BASELINE", "c"), "{cwd}/a", "/b", "{cwd}/c", None),
    Row(
        "config-dir",
        ("--disagg-config-dir=one", "--disagg-config-dir=two"),
        "three\n  below/two",
        ("DISAGG_CONFIG_DIR", f"two{os.pathsep}one"),
        ("{cwd}/one", "{cwd}/two"),
        ("{ini}/three", "{ini}/below/two"),
        ("{cwd}/two", "{cwd}/one"),
        ("{ini}/test_configs",),
    ),
    Row(
        "set",
        ("--disagg-set=benchmark.concurrency_list=1,2", "--disagg-set=a.b=c d"),
        "\n  a.b=1\n  a.c=x y",
        None,
        ("benchmark.concurrency_list=1,2", "a.b=c d"),
        ("a.b=1", "a.c=x y"),
        None,
        (),
    ),
)


@pytest.fixture
def below(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder below the ini file's, where the session is started."""
    for folder in ("three", "below/one", "below/two"):
        (project.path / folder).mkdir(parents=True)
    monkeypatch.chdir(project.path / "below")
    return project.path / "below"


def value(project: pytest.Pytester, row: Row, *, line: bool = False, ini: bool = False, env: bool = False) -> object:
    write_ini(project, f"disagg_{row.name.replace('-', '_')} = {row.ini}" if ini else "")
    config = project.parseconfig("-c", str(project.path / "pytest.ini"), *(row.command_line if line else ()))
    found = resolve(config, dict([row.env]) if env and row.env else {})
    return getattr(found, row.name.replace("-", "_"))


def meant(project: pytest.Pytester, expected: object) -> object:
    """``expected`` with its directories filled in."""
    if isinstance(expected, str) and expected.startswith(("{", "/")):
        return Path(expected.format(ini=project.path, cwd=project.path / "below", data=os.environ["XDG_DATA_HOME"]))
    if isinstance(expected, tuple):
        return tuple(meant(project, item) for item in expected)
    return expected


@pytest.mark.usefixtures("below")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_first_source_that_says_something_wins(project: pytest.Pytester, row: Row) -> None:
    assert value(project, row) == meant(project, row.default)
    if row.env is not None:
        assert value(project, row, env=True) == meant(project, row.expected_env)
    assert value(project, row, env=True, ini=True) == meant(project, row.expected_ini)
    assert value(project, row, env=True, ini=True, line=True) == meant(project, row.expected_line)


def test_every_option_is_covered_and_has_a_value() -> None:
    assert {row.name for row in ROWS} == {option.name for option in OPTIONS}
    derived = {"search"}
    assert {each.name for each in fields(Resolved)} - derived == {row.name.replace("-", "_") for row in ROWS}
    assert {option.kind for option in OPTIONS} == {"str", "path", "paths", "list", "int", "flag"}


def test_an_ini_value_of_false_is_a_value(project: pytest.Pytester) -> None:
    write_ini(project, "disagg_keep = false")
    assert resolve(project.parseconfig(), {"DISAGG_KEEP": "1"}).keep is False


def test_an_empty_environment_variable_says_nothing(project: pytest.Pytester) -> None:
    found = resolve(project.parseconfig(), {"DISAGG_REPEAT": "", "DISAGG_WORK_DIR": "", "DISAGG_CONFIG_DIR": ""})
    assert (found.repeat, found.work_dir) == (1, project.path / "disagg-runs")
    assert found.config_dir == (project.path / "test_configs",)


def test_values_of_pyproject_toml_are_read(project: pytest.Pytester) -> None:
    (project.path / "pytest.ini").unlink()
    project.makepyprojecttoml(
        '[tool.pytest.ini_options]\ndisagg_config_dir = ["test_configs"]\ndisagg_set = ["a.b=1"]\n'
        'disagg_repeat = 2\ndisagg_keep = true\ndisagg_work_dir = "runs"\n'
    )
    found = resolve(project.parseconfig(), {})
    assert found.config_dir == (project.path / "test_configs",)
    assert (found.set, found.repeat, found.keep, found.work_dir) == (("a.b=1",), 2, True, project.path / "runs")


def test_the_folders_of_older_tools_are_searched_after_ours(project: pytest.Pytester) -> None:
    older = project.mkdir("older")
    environ = {"DISAGG_CONFIG_FOLDER": str(older), "AGG_CONFIG_FOLDER": "/not/there"}
    found = resolve(project.parseconfig("--disagg-llm-src", "llm"), environ)
    assert found.config_dir == (project.path / "test_configs", older)
    sources = project.path / "llm" / "tests"
    assert found.search == (
        project.path / "test_configs",
        Path("/not/there"),
        older,
        sources / "scripts/perf-sanity/aggregated",
        sources / "scripts/perf-sanity/disaggregated",
        sources / "integration/defs/perf/disagg/test_configs/disagg/perf",
        sources / "integration/defs/perf/disagg/test_configs/wideep/perf",
    )


@pytest.mark.parametrize(
    ("args", "ini", "env", "message"),
    [
        (["--disagg-repeat=0"], "", {}, "--disagg-repeat: found '0', expected a whole number of at least 1"),
        ([], "disagg_repeat = many", {}, "ini disagg_repeat: found 'many', expected a whole number of at least 1"),
        ([], "", {"DISAGG_REPEAT": "1.5"}, "DISAGG_REPEAT: found '1.5', expected a whole number of at least 1"),
        ([], "", {"DISAGG_KEEP": "maybe"}, "DISAGG_KEEP: found 'maybe', expected 1 or 0"),
        ([], "disagg_keep = maybe", {}, "ini disagg_keep: "),
        (["--disagg-set=benchmark"], "", {}, "--disagg-set: found 'benchmark', expected key=value"),
        ([], "disagg_set = =3", {}, "ini disagg_set: found '=3', expected key=value"),
        (["--disagg-rehearse-limit=users=3"], "", {}, "--disagg-rehearse-limit: rehearse limit 'users=3'"),
        ([], "", {"DISAGG_REHEARSE_LIMIT": "osl=0"}, "DISAGG_REHEARSE_LIMIT: rehearse limit 'osl=0'"),
        (["--disagg-config-dir=nowhere"], "", {}, "--disagg-config-dir: found '{cwd}/nowhere', expected a directory"),
        ([], "disagg_config_dir = nowhere", {}, "ini disagg_config_dir: found '{cwd}/nowhere', expected a directory"),
        ([], "", {"DISAGG_CONFIG_DIR": "nowhere"}, "DISAGG_CONFIG_DIR: found '{cwd}/nowhere', expected a directory"),
    ],
)
def test_a_wrong_value_is_a_usage_error_that_names_its_source(
    project: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    args: list[str],
    ini: str,
    env: dict[str, str],
    message: str,
) -> None:
    write_ini(project, ini)
    write_config(project, "one", AGGR)
    for name, text in env.items():
        monkeypatch.setenv(name, text)
    result = project.runpytest_inprocess(*args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: {message.format(cwd=project.path)}" in result.stderr.str()
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_a_wrong_value_bothers_no_session_without_a_case_of_ours(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISAGG_REPEAT", "many")
    pytester.makepyfile("def test_other(): pass")
    pytester.runpytest_inprocess().assert_outcomes(passed=1)


def test_help_shows_every_option_and_its_twins(project: pytest.Pytester) -> None:
    out = " ".join(project.runpytest_inprocess("--help").stdout.str().split())
    for option in OPTIONS:
        assert option.flag in out
        assert f"{option.dest} (" in out
        assert not option.env or f"[{option.env}]" in out
