"""One session with a run of each kind, and one under xdist: what they print, leave behind and hand on to roles."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.pytester.conftest import AGGR, DISAGG, ROLES, Finished, make_project, properties, run_pytest

SCHEMA = Path(__file__).parents[1] / "data" / "junit.xsd"
FAULT = "\nsim: {faults: [{role: GEN_0, kind: exit, after_requests: 0, exit_code: 7}]}"
FAILING = DISAGG.replace("\nsim: {decode_step_ms: 5}", FAULT)
# Whatever a role would inherit from here would make it fail or show.
INI = """\
[pytest]
addopts = -v --maxfail=1 --strict-config
required_plugins = pytest-xdist
filterwarnings = error
cache_dir = .kept
disagg_work_dir = runs
disagg_stage_name = from-ini
"""
HOOK_PLUGIN = """\
import os, pathlib

def pytest_disagg_stage(case, role, stage, event):
    pathlib.Path(f"told.{os.environ.get('DISAGG_SERVING_TYPE', 'here')}").touch()
"""
OTHER_PLUGIN = """\
import os, pathlib

def pytest_configure():
    pathlib.Path(f"loaded.{os.environ.get('DISAGG_SERVING_TYPE', 'here')}").touch()
"""
CONFTEST = """\
import json, os, pathlib

def pytest_configure(config):
    found = {
        "plugins": [name for name in ("xdist", "cacheprovider", "lfplugin") if config.pluginmanager.has_plugin(name)],
        "verbose": config.option.verbose,
        "maxfail": config.option.maxfail,
        "durations": config.option.durations,
        "args": config.args,
        "set": config.option.disagg_set,
        "work_dir": config.option.disagg_work_dir,
        "stage_name": config.option.disagg_stage_name,
        "client": config.option.disagg_client,
        "config_dir": config.option.disagg_config_dir,
        "environment": sorted(name for name in os.environ if name.startswith("PYTEST_")),
        "ini": [config.getini("junit_suite_name"), config.getini("filterwarnings")],
    }
    role = os.environ.get("DISAGG_SERVING_TYPE", "here")
    pathlib.Path(f"configured.{role}").write_text(json.dumps(found))
"""
HERE, TOGETHER, ALONE = "test_e2e[disagg-e2e-failing]", "test_e2e[disagg-e2e-together]", "test_e2e[aggr-alone]"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A disaggregated and an aggregated run that pass, in a session with options of all kinds."""
    folder = make_project(tmp_path_factory.mktemp("session") / "project", together=DISAGG, alone=AGGR)
    (folder / "pytest.ini").write_text(INI)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "with_hook.py").write_text(HOOK_PLUGIN)
    (folder / "without_hook.py").write_text(OTHER_PLUGIN)
    return run_pytest(
        folder,
        *("-p", "with_hook", "-p", "without_hook", "--junitxml=out/r.xml", "-o", "junit_suite_name=mine"),
        "--disagg-set=benchmark.multi_round=5",
        PYTEST_ADDOPTS="--durations=3 -rA",
        PYTHONPATH=os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
        DISAGG_CLIENT="native",
    )


@pytest.fixture(scope="module")
def distributed(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Two aggregated runs and a disaggregated one whose GEN server dies, under xdist."""
    pytest.importorskip("xdist")
    folder = make_project(tmp_path_factory.mktemp("distributed") / "project", one=AGGR, two=AGGR, failing=FAILING)
    return run_pytest(folder, "-n2", "--junitxml=r.xml")


def run_dir(finished: Finished) -> Path:
    return Path(properties(finished.tests("out/r.xml")[TOGETHER])["disagg_run_dir"])


def test_a_session_passes_and_shows_its_table(session: Finished) -> None:
    assert session.code == 0, session.out
    assert f"2 cases from {session.folder}/test_configs, runs in {session.folder}/runs" in session.out
    assert session.out.count("disagg: pytest-disagg") == 1
    _, _, table = session.out.partition("disaggregated serving")
    head, alone, together = (line.split() for line in table.splitlines()[1:4])
    assert head[:4] == ["case", "point", "verdict", "tok/s"]
    assert alone[:3] == ["aggr-alone", "con2", "insufficient-history"]
    assert together[:3] == ["disagg-e2e-together", "con2", "insufficient-history"]
    assert float(alone[3]) > 0
    for case in ("aggr-alone", "disagg-e2e-together"):
        (line,) = (line for line in table.splitlines() if line.startswith(f"  {case}: records in "))
        assert (session.folder / line.partition(" in ")[2]).is_file()


def test_a_run_shows_its_deployment_coming_up(session: Finished) -> None:
    for role in ("GEN_0", "CTX_0", "DISAGG_SERVER"):
        assert f"{role}: ready at 127.0.0.1:" in session.out
    assert "BENCHMARK: measure" in session.out


def test_every_role_was_its_own_pytest_with_its_own_junit_file(session: Finished) -> None:
    folder = run_dir(session) / "junit"
    assert {path.name for path in folder.iterdir()} == {f"{role}.xml" for role in ROLES}
    for role in ROLES:
        ((name, test),) = session.tests(str(folder / f"{role}.xml")).items()
        assert name == TOGETHER
        assert test.find("failure") is None
        found = properties(test)
        assert (found["disagg_role"], found["disagg_run_id"]) == (role, run_dir(session).parent.name)
        assert len(found["disagg_config_digest"]) == 64
    assert [path.name for path in (session.folder / "out").iterdir()] == ["r.xml"]


def test_every_role_logs_who_it_is_first(session: Finished) -> None:
    for role in ROLES:
        log = (run_dir(session) / "logs" / f"{role}.pytest.log").read_text()
        first = next(line for line in log.splitlines() if line.startswith("role "))
        assert first.startswith(f"role {role} rank 0 node ")
        assert f" run {run_dir(session).parent.name} config " in first


def configured(session: Finished, role: str) -> dict[str, object]:
    """What the session of that role found in pytest's config; ``here`` is the one that started the roles."""
    found: dict[str, object] = json.loads((session.folder / f"configured.{role}").read_text())
    return found


def test_roles_inherit_nothing_by_accident(session: Finished) -> None:
    here = configured(session, "here")
    assert here["plugins"] == ["xdist", "cacheprovider", "lfplugin"]
    assert (here["verbose"], here["maxfail"], here["durations"]) == (1, 1, 3)
    for role in ROLES:
        found = configured(session, role)
        assert found["plugins"] == []
        assert (found["verbose"], found["maxfail"], found["durations"]) == (0, None, None)
        assert found["args"] == [f"{session.folder}/test_perf.py::{TOGETHER}"]
        assert found["environment"] == ["PYTEST_VERSION"]  # pytest's own, set by itself
        # What is written for everyone, and what the command line says over it, holds for roles, too.
        assert found["ini"] == ["mine", ["error"]]


def test_roles_get_every_value_explicitly(session: Finished) -> None:
    for role in ROLES:
        found = configured(session, role)
        assert found["set"] == ["benchmark.multi_round=5"]
        assert found["work_dir"] == f"{session.folder}/runs"
        assert found["stage_name"] == "from-ini"
        assert found["client"] == "native"
        assert found["config_dir"] == [f"{session.folder}/test_configs"]
    (record, *_) = (run_dir(session) / "results" / "records.jsonl").read_text().splitlines()
    assert json.loads(record)["l_num_prompts"] == 10
    assert (session.folder / "runs" / "from-ini" / "perf_script_test_results.csv").is_file()


def test_roles_get_the_plugins_that_implement_a_hook_of_ours_and_no_other(session: Finished) -> None:
    assert {path.name for path in session.folder.glob("told.*")} == {f"told.{role}" for role in (*ROLES, "here")}
    assert {path.name for path in session.folder.glob("loaded.*")} == {"loaded.here"}


def test_a_passing_test_has_its_metrics_and_its_identity_as_properties(session: Finished) -> None:
    for test in session.tests("out/r.xml").values():
        found = properties(test)
        assert found["disagg_verdict"] == "insufficient-history"
        assert found["disagg_kind"] == ""
        assert float(found["disagg_con2.median_ttft"]) > 0
        for name in ("case", "run_id", "config_digest", "git_sha", "engine", "run_dir", "records"):
            assert f"disagg_{name}" in found
        names = [each.get("name") for each in test.iter("property")]
        assert len(names) == len(set(names))


def test_names_in_junit_are_stable(session: Finished) -> None:
    tests = session.tests("out/r.xml")
    assert set(tests) == {TOGETHER, ALONE}
    assert {test.get("classname") for test in tests.values()} == {"test_perf"}


def test_junit_files_are_valid(session: Finished, distributed: Finished) -> None:
    import xmlschema

    schema = xmlschema.XMLSchema(SCHEMA)
    files = [session.folder / "out" / "r.xml", distributed.folder / "r.xml", *(run_dir(session) / "junit").iterdir()]
    assert len(files) == 2 + len(ROLES)
    for file in files:
        schema.validate(file)


def test_a_failure_in_junit_starts_with_kind_and_cause(distributed: Finished) -> None:
    test = distributed.tests()[HERE]
    assert test.find("error") is None
    failure = test.find("failure")
    assert failure is not None
    message = failure.get("message", "")
    assert message.startswith("functional: GEN_0 failed in stage ")
    assert "ended with exit code 7" in message.splitlines()[0]
    assert (failure.text or "").startswith("functional: GEN_0 failed in stage ")
    found = properties(test)
    assert (found["disagg_verdict"], found["disagg_kind"]) == ("failed", "functional")
    assert len(found["disagg_config_digest"]) == 64


def test_every_role_of_a_failed_run_is_red_with_one_cause(distributed: Finished) -> None:
    found = properties(distributed.tests()[HERE])
    folder = distributed.folder / "disagg-runs" / found["disagg_run_id"] / "disagg-e2e-failing" / "junit"
    for role in ROLES:
        ((_, test),) = distributed.tests(str(folder / f"{role}.xml")).items()
        failure = test.find("failure")
        assert failure is not None
        assert failure.get("message", "").startswith("functional: GEN_0 failed in stage ")
        assert properties(test)["disagg_kind"] == "functional"


def test_xdist_changes_nothing_of_what_is_shown(distributed: Finished) -> None:
    assert distributed.code == 1, distributed.out
    assert "1 failed, 2 passed" in distributed.out
    assert distributed.out.count("disagg: pytest-disagg") == 1
    assert f"3 cases from {distributed.folder}/test_configs" in distributed.out
    _, _, table = distributed.out.partition("disaggregated serving")
    rows = {line.split()[0]: line.split() for line in table.splitlines() if line and not line.startswith(" ")}
    assert rows["aggr-one"][1:3] == rows["aggr-two"][1:3] == ["con2", "insufficient-history"]
    assert rows["disagg-e2e-failing"][1:] == ["failed"]
