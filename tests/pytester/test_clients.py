"""A load generator that is not installed: a skip where the file wants it, an error where the command line does."""

from __future__ import annotations

import pytest

from tests.pytester.conftest import AGGR, DISAGG, write_config

MISSING = "the program aiperf is not on PATH: pip install aiperf, or set DISAGG_AIPERF to where it is installed"
WANTS_IT = DISAGG.replace("benchmark: {", "benchmark: {benchmark_client: aiperf, ")


@pytest.fixture(autouse=True)
def no_aiperf(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(project.path))
    monkeypatch.delenv("DISAGG_AIPERF", raising=False)


def test_what_the_file_wants_is_a_skip(project: pytest.Pytester) -> None:
    write_config(project, "one", WANTS_IT)
    result = project.runpytest_inprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines([f"SKIPPED*client aiperf: {MISSING}"])


def test_what_nobody_offers_is_a_skip_with_the_nearest_name(project: pytest.Pytester) -> None:
    write_config(project, "one", WANTS_IT.replace("aiperf", "aiperv"))
    result = project.runpytest_inprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED*client 'aiperv' is not installed (known: *native*; did you mean 'aiperf'?)*"])


def test_what_the_command_line_wants_is_an_error(project: pytest.Pytester) -> None:
    write_config(project, "one", AGGR)
    result = project.runpytest_inprocess("--disagg-client=aiperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*--disagg-client=aiperf: {MISSING}"])


def test_a_variable_that_leads_nowhere(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISAGG_AIPERF", str(project.path / "gone"))
    write_config(project, "one", AGGR)
    result = project.runpytest_inprocess("--disagg-client=aiperf")
    result.stdout.fnmatch_lines(["*DISAGG_AIPERF: found '*gone', expected a virtual environment with bin/aiperf*"])


def test_only_benchmark_needs_it(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    project.makeconftest("def pytest_disagg_skip(case): return 'asked'")
    write_config(project, "one", WANTS_IT)
    monkeypatch.setenv("DISAGG_RUN_ID", "r1")
    for role, said in (("BENCHMARK", f"client aiperf: {MISSING}"), ("CTX_0", "asked"), ("DISAGG_SERVER", "asked")):
        monkeypatch.setenv("DISAGG_SERVING_TYPE", role)
        result = project.runpytest_inprocess()
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines([f"*{role} failed in stage plan: cannot run here: {said}"])
