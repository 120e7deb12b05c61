"""Which cases a session has: the listing, ids on the command line, words of -k."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pytester.conftest import AGGR, DISAGG, TRTLLM_AGGR, TRTLLM_DISAGG, collected, write_config

SCANNED = """\
import pathlib
from pytest_disagg.config import lookup

def remember(path, before=lookup.scan):
    with pathlib.Path("scanned.txt").open("a") as file:
        print(path.name, file=file)
    return before(path)

lookup.scan = remember
"""


def listing(project: pytest.Pytester, *args: str) -> list[str]:
    return collected(project.runpytest_inprocess("--collect-only", "-q", *args))


def test_a_file_of_ours_offers_what_it_names(project: pytest.Pytester) -> None:
    write_config(project, "one", AGGR)
    write_config(project, "two", DISAGG)
    assert listing(project) == ["aggr-one", "disagg-e2e-two"]


def test_a_tensorrt_llm_file_offers_the_whole_product(project: pytest.Pytester) -> None:
    write_config(project, "agg_blackwell", TRTLLM_AGGR)
    write_config(project, "gb200_some-model_con4", TRTLLM_DISAGG)
    servers = ("", "-small", "-large")
    aggregated = [f"{prefix}-agg_blackwell{server}" for prefix in ("aggr_upload", "aggr") for server in servers]
    modes = [
        f"{prefix}-{mode}"
        for prefix in ("disagg_upload", "disagg")
        for mode in ("e2e", "gen_only", "gen_only_no_context")
    ]
    disaggregated = [f"{name}-gb200_some-model_con4" for name in (*modes, "aggr_upload-ctx_only", "aggr-ctx_only")]
    assert listing(project) == [*aggregated, *disaggregated]


def test_baselines_cluster_files_and_hidden_ones_are_no_cases(project: pytest.Pytester) -> None:
    write_config(project, "one", AGGR)
    write_config(project, "cluster", "clusters: {lab: {partition: p}}\n")
    write_config(project, ".hidden", AGGR)
    project.mkdir("test_configs/baselines")
    write_config(project, "baselines/accepted", AGGR)
    assert listing(project) == ["aggr-one"]


def test_minus_k_takes_an_id_of_the_older_grammar(project: pytest.Pytester) -> None:
    write_config(project, "some-model_con4", TRTLLM_DISAGG)
    assert listing(project, "-k", "disagg_upload-some-model_con4") == ["disagg_upload-some-model_con4"]
    # A part of an id is a word like any other.
    assert listing(project, "-k", "disagg_upload-e2e") == ["disagg_upload-e2e-some-model_con4"]


def test_minus_k_takes_a_modifier(project: pytest.Pytester) -> None:
    write_config(project, "one", DISAGG)
    write_config(project, "two", TRTLLM_DISAGG)
    write_config(project, "three", AGGR)
    assert listing(project, "-k", "disagg-e2e-time_breakdown-two") == ["disagg-e2e-time_breakdown-two"]
    assert listing(project, "-k", "time_breakdown and (one or three)") == ["disagg-e2e-time_breakdown-one"]
    assert len(listing(project, "-k", "time_breakdown and two")) == 8


@pytest.mark.parametrize(
    "case_id", ["disagg_upload-some-model", "disagg-gen_only-time_breakdown-some-model", "aggr-ctx_only-some-model"]
)
def test_an_id_on_the_command_line_reads_one_file(project: pytest.Pytester, case_id: str) -> None:
    write_config(project, "some-model", TRTLLM_DISAGG)
    write_config(project, "broken", "worker_config: [\n")
    write_config(project, "some", AGGR)
    project.makeconftest(SCANNED)
    result = project.runpytest_subprocess("--collect-only", "-q", f"test_perf.py::test_e2e[{case_id}]")
    assert collected(result) == [case_id]
    # `aggr-ctx_only-some-model` may also be server `model` of a `ctx_only-some.yaml`, which is not there.
    assert (project.path / "scanned.txt").read_text().split() == ["some-model.yaml"]


def test_two_ids_for_two_tests(project: pytest.Pytester) -> None:
    write_config(project, "one", AGGR)
    write_config(project, "two", AGGR)
    project.makepyfile(test_more="def test_more(disagg_case): pass")
    assert listing(project, "test_perf.py::test_e2e[aggr-one]", "test_more.py::test_more[aggr-two]") == [
        "aggr-one",
        "aggr-two",
    ]
    # An id for one test takes nothing from another.
    assert listing(project, "test_perf.py::test_e2e[aggr-one]", "test_more.py") == ["aggr-one", "aggr-one", "aggr-two"]


def test_an_id_is_found_from_any_directory(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(project, "one", AGGR)
    write_config(project, "broken", "worker_config: [\n")
    monkeypatch.chdir(project.mkdir("below"))
    assert listing(project, "../test_perf.py::test_e2e[aggr-one]") == ["aggr-one"]
    assert listing(project, f"{project.path}/test_perf.py::test_e2e[aggr-one]") == ["aggr-one"]


def test_an_id_is_found_in_a_tensorrt_llm_checkout(project: pytest.Pytester) -> None:
    folder = project.path / "llm/tests/scripts/perf-sanity/disaggregated"
    folder.mkdir(parents=True)
    (folder / "there.yaml").write_text(TRTLLM_DISAGG)
    case_id = "test_perf.py::test_e2e[disagg-e2e-there]"
    assert listing(project, "--disagg-llm-src=llm", case_id) == ["disagg-e2e-there"]
    # Its files are looked up by name, they are not the project's cases.
    assert listing(project, "--disagg-llm-src=llm") == ["no-case"]


def test_an_unknown_id_lists_every_directory_searched(project: pytest.Pytester) -> None:
    write_config(project, "one", AGGR)
    result = project.runpytest_inprocess("--disagg-llm-src=llm", "--junitxml=r.xml", "test_perf.py::test_e2e[aggr-on]")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    error = result.stderr.str()
    assert "'aggr-on': found no such config file, expected on{.yaml,.yml}; searched: " in error
    assert f"{project.path}/test_configs, " in error
    for folder in (
        "tests/scripts/perf-sanity/aggregated",
        "tests/scripts/perf-sanity/disaggregated",
        "tests/integration/defs/perf/disagg/test_configs/disagg/perf",
        "tests/integration/defs/perf/disagg/test_configs/wideep/perf",
    ):
        assert f"{project.path}/llm/{folder} (not there)" in error
    assert "Traceback" not in error + result.stdout.str()
    # Whoever reads only the junit file is told as well.
    assert "no such config file" in (project.path / "r.xml").read_text()


def test_an_unknown_id_among_others_is_a_usage_error_too(project: pytest.Pytester) -> None:
    write_config(project, "one", AGGR)
    result = project.runpytest_inprocess("test_perf.py::test_e2e[aggr-two]", "test_perf.py::test_e2e[aggr-one]")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "'aggr-two': found no such config file" in result.stderr.str()


def test_a_mode_the_grammar_does_not_have_gets_a_suggestion(project: pytest.Pytester) -> None:
    write_config(project, "one", DISAGG)
    result = project.runpytest_inprocess("test_perf.py::test_e2e[disagg-gen_onyl-one]")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "did you mean 'gen_only'?" in result.stderr.str()


def test_an_unknown_id_is_told_under_xdist_as_well(project: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    write_config(project, "one", AGGR)
    result = project.runpytest_subprocess("-n1", "test_perf.py::test_e2e[aggr-two]")
    assert result.ret != 0
    assert "'aggr-two': found no such config file" in result.stdout.str()
    assert "INTERNALERROR" not in result.stdout.str()


def test_without_any_case_the_session_fails_and_says_where_it_looked(project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    folder = project.path / "test_configs"
    result.stdout.fnmatch_lines([f"{folder}: found no case file, expected at least one; *(searched: {folder})"])
    folder.rmdir()
    assert "no config directory is known" in project.runpytest_inprocess().stdout.str()


def test_every_config_directory_counts(project: pytest.Pytester) -> None:
    write_config(project, "one", AGGR)
    other = Path(project.mkdir("other"))
    (other / "two.yml").write_text(AGGR)
    assert listing(project, "--disagg-config-dir=test_configs", "--disagg-config-dir=other") == ["aggr-one", "aggr-two"]
    assert listing(project, "--disagg-config-dir=other") == ["aggr-two"]
