"""The roles of a run started one by one, as people do in a few shells and Slurm does in a few steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pytester.conftest import DISAGG, ROLES, Finished, Session, make_project, properties, run_pytest

TEST = "test_e2e[disagg-e2e-two]"


def start(folder: Path, role: str, run_id: str = "by-hand") -> Session:
    env = {"DISAGG_SERVING_TYPE": role, "DISAGG_RUN_ID": run_id}
    args = ["--disagg-work-dir=../shared", "--junitxml=r.xml", "-k", "disagg-e2e-two"]
    return Session(folder, args, env)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("by-hand") / "project", two=DISAGG)


@pytest.fixture(scope="module")
def run(folder: Path) -> dict[str, Finished]:
    """How each role's own session ended."""
    sessions = {role: start(folder, role) for role in ROLES}
    return {role: session.finish() for role, session in sessions.items()}


def test_roles_started_by_hand_find_each_other(run: dict[str, Finished]) -> None:
    assert {role: finished.code for role, finished in run.items()} == dict.fromkeys(ROLES, 0), [
        finished.out for finished in run.values()
    ]
    assert "disaggregated serving" in run["BENCHMARK"].out


def test_the_junit_file_is_the_clients(run: dict[str, Finished], folder: Path) -> None:
    assert {path.name for path in folder.glob("*.xml")} == {
        "r.xml",
        "r.GEN_0.xml",
        "r.CTX_0.xml",
        "r.DISAGG_SERVER.xml",
    }
    found = properties(run["BENCHMARK"].tests()[TEST])
    assert found["disagg_run_id"] == "by-hand"
    assert found["disagg_role"] == "BENCHMARK"
    assert float(found["disagg_con2.median_ttft"]) > 0
    others = [properties(run[role].tests(f"r.{role}.xml")[TEST]) for role in ROLES if role != "BENCHMARK"]
    assert {each["disagg_config_digest"] for each in others} == {found["disagg_config_digest"]}


def test_everything_lies_under_the_run_id(run: dict[str, Finished], folder: Path) -> None:
    assert run
    directory = folder.parent / "shared" / "by-hand" / "disagg-e2e-two"
    assert (directory / "outcome.json").is_file()
    assert {path.name for path in (directory / "roles").iterdir()} == {f"{role}.json" for role in ROLES}


@pytest.mark.parametrize("role", ["GEN_0", "DISAGG_SERVER", "BENCHMARK"])
def test_the_same_run_id_a_second_time_is_refused(run: dict[str, Finished], folder: Path, role: str) -> None:
    assert run
    again = start(folder, role).finish()
    assert again.code == 1
    name = "r.xml" if role == "BENCHMARK" else f"r.{role}.xml"
    failure = again.tests(name)[TEST].find("failure")
    assert failure is not None
    message = failure.get("message", "")
    assert message.startswith("infrastructure: ")
    assert "run by-hand is over" in message
    assert "set DISAGG_RUN_ID" in message


def test_the_whole_run_a_second_time_is_refused(run: dict[str, Finished], folder: Path) -> None:
    assert run
    directory = folder.parent / "shared" / "by-hand" / "disagg-e2e-two"
    before = {path: path.read_bytes() for path in directory.rglob("*.json*") if path.is_file()}
    again = run_pytest(folder, "--disagg-work-dir=../shared", "--junitxml=again.xml", DISAGG_RUN_ID="by-hand")
    assert again.code == 1
    failure = again.tests("again.xml")[TEST].find("failure")
    assert failure is not None
    assert "run by-hand is over" in failure.get("message", "")
    # What the first run left is as it was.
    assert {path: path.read_bytes() for path in before} == before


def test_roles_with_different_configs_end_with_an_error_that_names_both(folder: Path) -> None:
    sessions = [start(folder, role, "differ") for role in ("CTX_0", "DISAGG_SERVER")]
    args = ["--disagg-work-dir=../shared", "--disagg-set=benchmark.multi_round=9", "--junitxml=other.xml"]
    sessions.append(Session(folder, args, {"DISAGG_SERVING_TYPE": "GEN_0", "DISAGG_RUN_ID": "differ"}))
    for finished in [session.finish() for session in sessions]:
        assert finished.code == 1
        assert "all roles of a run need the same" in finished.out
