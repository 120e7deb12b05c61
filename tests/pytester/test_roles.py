"""What ``DISAGG_SERVING_TYPE`` may say, and what a process does that was told something else."""

from __future__ import annotations

import pytest

from tests.pytester.conftest import AGGR, DISAGG, Finished, properties, write_config, write_ini

VARIABLE = "DISAGG_SERVING_TYPE"


def play(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, role: str, *args: str) -> pytest.RunResult:
    monkeypatch.setenv(VARIABLE, role)
    return project.runpytest_inprocess(*args)


def words(result: pytest.RunResult) -> str:
    """The output in one line, so that no message is broken up."""
    return " ".join(result.stdout.str().split())


@pytest.mark.parametrize("role", ["WORKER", "GEN", "GEN_x", "gen_0", "BENCHMARK_0", "MPI_0"])
def test_an_unknown_role(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    write_config(project, "one", DISAGG)
    result = play(project, monkeypatch, role)
    result.assert_outcomes(failed=1)
    expected = f"{VARIABLE}: found {role!r}, expected one of GEN_0, CTX_0, DISAGG_SERVER, BENCHMARK, or unset"
    assert expected in words(result)


def test_an_index_the_case_does_not_have(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(project, "one", DISAGG)
    for args in ((), ("-k", "one")):
        result = play(project, monkeypatch, "GEN_1", *args)
        result.assert_outcomes(failed=1)
        assert f"{VARIABLE}=GEN_1: case disagg-e2e-one has 1 GEN servers; expected one of GEN_0, " in words(result)


def test_an_index_out_of_range_is_skipped_where_a_word_selects_several_cases(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.makepyfile(test_perf="def test_e2e(disagg_case): pass")
    write_config(project, "small", DISAGG)
    write_config(project, "smaller", DISAGG)
    write_config(project, "large", DISAGG.replace("num_ctx_servers: 1", "num_ctx_servers: 2"))
    result = play(project, monkeypatch, "CTX_1", "-rs", "-k", "disagg-e2e")
    result.assert_outcomes(passed=1, skipped=2)
    assert f"{VARIABLE}=CTX_1: case disagg-e2e-small has 1 CTX servers, and -k selected several cases" in words(result)
    # Without -k nobody selected anything: the role is wrong.
    project.makepyfile(test_perf="def test_e2e(disagg_case): disagg_case.run()")
    play(project, monkeypatch, "CTX_2").assert_outcomes(failed=3)


def test_a_role_for_a_case_that_one_process_plays(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(project, "one", AGGR)
    for role in ("GEN_0", "DISAGG_SERVER"):
        result = play(project, monkeypatch, role)
        result.assert_outcomes(failed=1)
        assert f"{VARIABLE}={role}: case aggr-one has no roles, one process plays it all; unset it" in words(result)


def test_a_role_without_a_run_id(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(project, "one", DISAGG)
    for role in ("GEN_0", "BENCHMARK"):
        result = play(project, monkeypatch, role)
        result.assert_outcomes(failed=1)
        assert f"infrastructure: {VARIABLE}={role} was set by hand" in words(result)
        assert "set DISAGG_RUN_ID" in words(result)
    assert not (project.path / "disagg-runs").exists()


def test_a_node_that_follows_needs_the_run_of_its_leader(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An aggregated case makes a run of its own where nothing names one: its second node must not."""
    project.makeconftest(
        """
        from pytest_disagg.engines.sim.engine import SimEngine

        class Spread(SimEngine):
            def on_every_node(self, case, spec):
                return True

        def pytest_disagg_engines():
            return {"spread": Spread}
        """
    )
    write_config(project, "two", AGGR.replace("engine: sim", "engine: spread").replace("size: 1", "size: 16"))
    for name, value in {"SLURM_NTASKS": "2", "SLURM_PROCID": "1"}.items():
        monkeypatch.setenv(name, value)
    result = play(project, monkeypatch, "BENCHMARK")
    result.assert_outcomes(failed=1)
    assert f"infrastructure: {VARIABLE}=BENCHMARK was set by hand" in words(result)
    assert not (project.path / "disagg-runs").exists()


def test_no_role_in_a_step_of_several_tasks(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(project, "one", DISAGG)
    for name, value in {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_JOB_ID": "5"}.items():
        monkeypatch.setenv(name, value)
    result = project.runpytest_inprocess("--disagg-work-dir=runs")
    result.assert_outcomes(failed=1)
    expected = f"{VARIABLE} is unset in a Slurm step of 8 tasks (this is rank 0): each would deploy the whole case"
    assert expected in words(result)
    assert not (project.path / "runs").exists()


def test_only_rank_0_plays_an_aggregated_case_of_several_tasks(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(project, "one", AGGR)
    # Asked for a reason to skip: nothing was wrong with the role.
    project.makeconftest("def pytest_disagg_skip(case): return 'asked'")
    for name, value in {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}.items():
        monkeypatch.setenv(name, value)
    project.runpytest_inprocess("--junitxml=r.xml").assert_outcomes(skipped=1)
    monkeypatch.setenv("SLURM_PROCID", "3")
    result = project.runpytest_inprocess("--junitxml=r.xml")
    result.assert_outcomes(failed=1)
    assert "a Slurm step of 4 tasks (this is rank 3)" in words(result)
    written = Finished(0, "", project.path)
    assert written.suite("r.xml").find(".//failure") is None
    assert written.suite("r.3.xml").find(".//failure") is not None


def test_an_empty_role_is_none(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(project, "one", DISAGG)
    project.makepyfile(test_perf="def test_e2e(disagg_case): pass")
    assert play(project, monkeypatch, "", "--junitxml=r.xml").ret == 0
    assert (project.path / "r.xml").is_file()


@pytest.mark.parametrize(
    ("role", "slurm", "name"),
    [
        ("GEN_0", {}, "r.GEN_0.xml"),
        ("DISAGG_SERVER", {}, "r.DISAGG_SERVER.xml"),
        ("BENCHMARK", {}, "r.xml"),
        ("CTX_0", {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, "r.CTX_0.xml"),
        ("CTX_0", {"SLURM_NTASKS": "4", "SLURM_PROCID": "2"}, "r.CTX_0.2.xml"),
        ("BENCHMARK", {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, "r.xml"),
        ("BENCHMARK", {"SLURM_NTASKS": "4", "SLURM_PROCID": "1"}, "r.BENCHMARK.1.xml"),
    ],
)
def test_a_role_writes_a_junit_file_of_its_own(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, role: str, slurm: dict[str, str], name: str
) -> None:
    write_config(project, "one", DISAGG)
    for variable, value in slurm.items():
        monkeypatch.setenv(variable, value)
    play(project, monkeypatch, role, "--junitxml=out/r.xml")
    assert [path.name for path in (project.path / "out").iterdir()] == [name]
    ((test_name, test),) = Finished(0, "", project.path / "out").tests(name).items()
    assert test_name == "test_e2e[disagg-e2e-one]"
    found = properties(test)
    assert (found["disagg_role"], found["disagg_case"], found["disagg_kind"]) == (
        role,
        "disagg-e2e-one",
        "infrastructure",
    )
    assert len(found["disagg_config_digest"]) == 64


def test_an_early_error_of_a_role_goes_to_its_own_junit_file(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.path / "r.xml").write_text("BENCHMARK's")
    result = play(project, monkeypatch, "GEN_0", "--junitxml=r.xml", "test_perf.py::test_e2e[disagg-e2e-nowhere]")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert (project.path / "r.xml").read_text() == "BENCHMARK's"
    assert "no such config file" in (project.path / "r.GEN_0.xml").read_text()


def test_a_session_without_our_cases_keeps_its_junit_file(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.makepyfile(test_perf="def test_other(): pass")
    write_ini(project, "junit_family = xunit1")
    play(project, monkeypatch, "GEN_0", "--junitxml=r.xml").assert_outcomes(passed=1)
    assert (project.path / "r.xml").is_file()
