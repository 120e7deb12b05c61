"""A pytest start without a case of ours costs and shows nothing; one with cases says so."""

from __future__ import annotations

import json
import sys

import pytest

from tests.pytester.conftest import AGGR, TEST_MODULE, collected, write_config

HEAVY = (
    "pydantic",
    "yaml",
    "requests",
    "aiohttp",
    "uvloop",
    "httptools",
    "psutil",
    "importlib.metadata._itertools",
    "pytest_disagg.config",
    "pytest_disagg.roles",
    "pytest_disagg.launch",
    "pytest_disagg.clients",
    "pytest_disagg.engines",
    "pytest_disagg.records",
    "pytest_disagg.rundir",
    "pytest_disagg.topology",
)
OURS_AT_EVERY_START = {
    "pytest_disagg",
    "pytest_disagg.hookspecs",
    "pytest_disagg.plugin",
    "pytest_disagg.plugin.cases",
    "pytest_disagg.plugin.junit",
    "pytest_disagg.plugin.options",
    "pytest_disagg.plugin.page",
    "pytest_disagg.plugin.terminal",
}
# What is loaded is written down at the very end, by the process itself.
WRITES_MODULES = """\
import json, pathlib, sys

def pytest_unconfigure():
    pathlib.Path("modules.json").write_text(json.dumps(sorted(sys.modules)))
"""
# The names, parameters and node ids of TensorRT-LLM's own perf-sanity test.
FOREIGN_MODULE = """\
import pytest

CASES = ["aggr_upload-deepseek_r1_fp8_blackwell-r1_fp8_tp8", "disagg-e2e-gb200_deepseek-r1-fp4_1k1k_con1"]

@pytest.mark.parametrize("perf_sanity_test_case", CASES)
def test_e2e(tmp_path, perf_sanity_test_case):
    assert perf_sanity_test_case in CASES
"""


def modules_of(pytester: pytest.Pytester, *args: str) -> set[str]:
    """What a session in a process of its own has imported by its end."""
    pytester.makeconftest(WRITES_MODULES)
    result = pytester.run(sys.executable, "-m", "pytest", *args)
    assert result.ret == 0, result.outlines
    return set(json.loads((pytester.path / "modules.json").read_text()))


def test_a_session_without_our_cases_imports_next_to_nothing_of_ours(project: pytest.Pytester) -> None:
    (project.path / "test_perf.py").unlink()
    write_config(project, "one", AGGR)
    project.makepyfile("def test_other(): pass")
    alone = modules_of(project, "-p", "no:pytest_disagg.plugin")
    ours = modules_of(project) - alone
    assert {name for name in ours if name.startswith("pytest_disagg")} == OURS_AT_EVERY_START
    assert not [name for name in ours for heavy in HEAVY if name == heavy or name.startswith(f"{heavy}.")]


def test_listing_cases_imports_no_schema_and_no_network(project: pytest.Pytester) -> None:
    write_config(project, "one", AGGR)
    loaded = modules_of(project, "--collect-only")
    assert "pytest_disagg.config.listing" in loaded
    assert not loaded & {
        "pydantic",
        "requests",
        "aiohttp",
        "uvloop",
        "httptools",
        "psutil",
        "pytest_disagg.config.schema",
    }


def test_a_session_without_our_cases_prints_nothing_of_ours(project: pytest.Pytester) -> None:
    write_config(project, "one", AGGR)
    project.makepyfile(test_other="def test_other(): pass")
    out = project.runpytest_inprocess("test_other.py", "-v").stdout.str().replace("plugins: disagg", "")
    assert "disagg" not in out
    deselected = project.runpytest_inprocess("-v", "-k", "test_other")
    deselected.assert_outcomes(passed=1, deselected=1)
    assert "disagg:" not in deselected.stdout.str()
    assert "disaggregated" not in deselected.stdout.str()


def test_the_header_line_says_how_many_cases_there_are_and_where(project: pytest.Pytester) -> None:
    write_config(project, "one", AGGR)
    result = project.runpytest_inprocess("--collect-only")
    folder = project.path
    result.stdout.fnmatch_lines(
        [f"disagg: pytest-disagg *, 1 case from {folder}/test_configs, runs in {folder}/disagg-runs"]
    )
    write_config(project, "two", AGGR)
    result = project.runpytest_inprocess("--collect-only", "--disagg-engine=sim")
    result.stdout.fnmatch_lines([f"disagg: *, 2 cases from {folder}/test_configs, engine sim, runs in *"])


def test_only_tests_that_ask_for_a_case_get_one(project: pytest.Pytester) -> None:
    write_config(project, "one", AGGR)
    project.makepyfile(
        test_perf=f"""
        import pytest

        {TEST_MODULE.replace(chr(10), chr(10) + "        ")}
        class TestMore:
            def test_with(self, disagg_case): pass
            def test_without(self): pass

        @pytest.fixture
        def through(disagg_case): return disagg_case.id

        def test_indirectly(through): assert through == "aggr-one"

        @pytest.mark.parametrize("more", [1, 2])
        def test_product(disagg_case, more): pass
        """
    )
    result = project.runpytest_inprocess("--collect-only", "-q")
    assert [line.removeprefix("test_perf.py::") for line in result.outlines if "::" in line] == [
        "test_e2e[aggr-one]",
        "TestMore::test_with[aggr-one]",
        "TestMore::test_without",
        "test_indirectly[aggr-one]",
        "test_product[aggr-one-1]",
        "test_product[aggr-one-2]",
    ]
    wanted = ["test_perf.py::test_product[aggr-one-2]", "test_perf.py::TestMore::test_with[aggr-one]"]
    project.runpytest_inprocess(*wanted, "test_perf.py::test_indirectly").assert_outcomes(passed=3)


def test_a_test_of_the_same_names_with_its_own_parameters_is_left_alone(project: pytest.Pytester) -> None:
    write_config(project, "one", AGGR)
    project.makepyfile(test_perf_sanity=FOREIGN_MODULE)
    foreign = [
        "aggr_upload-deepseek_r1_fp8_blackwell-r1_fp8_tp8",
        "disagg-e2e-gb200_deepseek-r1-fp4_1k1k_con1",
    ]
    ids = [f"test_perf_sanity.py::test_e2e[{name}]" for name in foreign]
    assert collected(project.runpytest_inprocess("--collect-only", "-q", "test_perf_sanity.py")) == foreign
    project.runpytest_inprocess(*ids).assert_outcomes(passed=2)
    # Beside a test of ours its ids are still its own: nobody looks for a file of that name.
    both = project.runpytest_inprocess("--collect-only", "-q", *ids, "test_perf.py::test_e2e[aggr-one]")
    assert collected(both) == [*foreign, "aggr-one"]


def test_the_plugin_loads_by_its_name_as_well(project: pytest.Pytester) -> None:
    """A conftest or a -p that names the installed plugin must not load it twice."""
    write_config(project, "one", AGGR)
    project.makeconftest('pytest_plugins = ["pytest_disagg.plugin"]')
    result = project.run(sys.executable, "-m", "pytest", "-p", "pytest_disagg.plugin", "--collect-only", "-q")
    assert collected(result) == ["aggr-one"]
