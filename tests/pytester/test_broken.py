"""A file that cannot be used is one failing test, in the call phase, and takes nothing else with it."""

from __future__ import annotations

import pytest

from tests.pytester.conftest import AGGR, TRTLLM_AGGR, Finished, collected, properties, write_config


def junit(project: pytest.Pytester) -> Finished:
    return Finished(0, "", project.path)


@pytest.fixture
def unplayed(project: pytest.Pytester) -> pytest.Pytester:
    """A project whose tests get their case, so that what is wrong with it shows, without playing a sound one."""
    project.makepyfile(
        test_perf="""
        def test_e2e(disagg_case):
            if disagg_case.id != "aggr-sound":
                disagg_case.run()
        """
    )
    write_config(project, "sound", AGGR)
    return project


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("worker_config:\n  gen: [1\n", 2, "expected valid YAML"),
        ("cases: [aggr]\nserver_configs: []\ncases: [aggr]\n", 3, "cases"),
        ("metadata: {}\n", 1, "neither worker_config nor server_configs"),
        ("worker_config: {}\nserver_configs: []\n", 2, "worker_config and server_configs"),
        ("server_configs: []\ncases: [agrr]\n", 2, "did you mean 'aggr'?"),
    ],
)
def test_a_broken_file_is_one_failure_that_names_the_line(
    unplayed: pytest.Pytester, text: str, line: int, words: str
) -> None:
    path = write_config(unplayed, "bad", text)
    result = unplayed.runpytest_inprocess("--junitxml=r.xml")
    result.assert_outcomes(passed=1, failed=1)
    tests = junit(unplayed).tests()
    (bad,) = (test for name, test in tests.items() if "sound" not in name)
    assert bad.find("error") is None
    failure = bad.find("failure")
    assert failure is not None
    assert failure.get("message", "").startswith(f"{path}:{line}: ")
    assert words in (failure.text or "")
    assert "Traceback" not in (failure.text or "")
    assert properties(bad) | {"disagg_verdict": "failed", "disagg_kind": "config"} == properties(bad)


def test_a_mistake_in_a_sound_file_fails_its_cases_only(unplayed: pytest.Pytester) -> None:
    text = AGGR.replace("timeouts:\n  launch_s: 20", "timeouts:\n  launhc_s: 20")
    path = write_config(unplayed, "bad", text)
    line = text[: text.index("launhc_s")].count("\n") + 1
    result = unplayed.runpytest_inprocess("--junitxml=r.xml")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines([f"{path}:{line}: timeouts.launhc_s: found *did you mean 'launch_s'?*"])


def test_all_mistakes_of_a_file_are_told_at_once(unplayed: pytest.Pytester) -> None:
    text = AGGR.replace("gpus_per_node: 8", "gpus_per_node: none").replace("timeout: 180", "timeout: soon")
    path = write_config(unplayed, "bad", text)
    out = unplayed.runpytest_inprocess().stdout.str()
    assert f"{path}:4: slurm.timeout: " in out
    assert f"{path}:5: hardware.gpus_per_node: " in out


def test_a_named_case_of_a_broken_file_fails_with_the_line(unplayed: pytest.Pytester) -> None:
    path = write_config(unplayed, "bad", "server_configs: [\n")
    result = unplayed.runpytest_inprocess("test_perf.py::test_e2e[aggr-bad]")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"{path}:1: *"])


def test_a_broken_case_can_be_named(unplayed: pytest.Pytester) -> None:
    write_config(unplayed, "bad", "server_configs: [\n")
    (broken,) = (
        each for each in collected(unplayed.runpytest_inprocess("--collect-only", "-q")) if "sound" not in each
    )
    unplayed.runpytest_inprocess(f"test_perf.py::test_e2e[{broken}]").assert_outcomes(failed=1)


def test_a_name_that_exists_twice_is_one_failure_that_names_both(unplayed: pytest.Pytester) -> None:
    unplayed.mkdir("test_configs/more")
    paths = [write_config(unplayed, name, TRTLLM_AGGR) for name in ("same", "more/same")]
    result = unplayed.runpytest_inprocess()
    result.assert_outcomes(passed=1, failed=1)
    for path in paths:
        assert str(path) in result.stdout.str()
    assert "the config name 'same'" in result.stdout.str()


def test_a_name_that_exists_twice_cannot_be_asked_for(unplayed: pytest.Pytester) -> None:
    unplayed.mkdir("test_configs/more")
    paths = [write_config(unplayed, name, AGGR) for name in ("same", "more/same")]
    result = unplayed.runpytest_inprocess("test_perf.py::test_e2e[aggr-same]")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    for path in paths:
        assert str(path) in result.stderr.str()


def test_an_override_that_fits_no_key_names_itself(unplayed: pytest.Pytester) -> None:
    write_config(unplayed, "one", AGGR)
    result = unplayed.runpytest_inprocess("--disagg-set=timeouts.launhc_s=3", "-k", "one")
    result.assert_outcomes(failed=1, deselected=1)
    assert "--disagg-set timeouts.launhc_s=3" in result.stdout.str()


def test_repeats_that_the_run_cannot_hold_are_told_before_it_starts(unplayed: pytest.Pytester) -> None:
    write_config(unplayed, "one", AGGR)
    args = ("--disagg-repeat=9", "--disagg-set=timeouts.measure_s=20", "-k", "one", "--junitxml=r.xml")
    result = unplayed.runpytest_inprocess(*args)
    result.assert_outcomes(failed=1, deselected=1)
    assert "slurm.timeout: found 180 s, expected at least" in result.stdout.str()
    assert "timeouts.measure_s 20 s x 9" in result.stdout.str()
    ((_, test),) = junit(unplayed).tests("r.xml").items()
    assert properties(test)["disagg_kind"] == "config"
    assert not (unplayed.path / "disagg-runs").exists()


def test_a_failure_shows_no_secret(unplayed: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_API_TOKEN", "opensesame-4711-opensesame")
    write_config(unplayed, "one", AGGR)
    args = ("--disagg-set=timeouts.launch_s=opensesame-4711-opensesame", "-k", "one", "--junitxml=r.xml")
    result = unplayed.runpytest_subprocess(*args)
    result.assert_outcomes(failed=1, deselected=1)
    assert "timeouts.launch_s" in result.stdout.str()
    assert "opensesame-4711" not in result.stdout.str() + (unplayed.path / "r.xml").read_text()


def test_a_usage_error_shows_no_secret(unplayed: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SITE_API_TOKEN", "opensesame-4711-opensesame")
    result = unplayed.runpytest_subprocess("--disagg-set=opensesame-4711-opensesame")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--disagg-set: found " in result.stderr.str()
    assert "opensesame-4711" not in result.stdout.str() + result.stderr.str()
