"""What a submission hands to sbatch, and what it leaves for whoever follows the job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.config.cluster import Cluster
from pytest_disagg.errors import RunError
from pytest_disagg.launch.slurm import client, submit
from pytest_disagg.launch.slurm.jobdir import JobDir
from pytest_disagg.launch.slurm.submission import Submission
from tests.unit.launch.slurm.conftest import MakeCase


@pytest.fixture
def prepared(make_case: MakeCase, tmp_path: Path) -> submit.Prepared:
    return submit.prepare(submit.Wanted(make_case(), Cluster(), tmp_path / "runs", ("--disagg-repeat=1",)))


def test_preparing_writes_nothing(prepared: submit.Prepared, tmp_path: Path) -> None:
    assert not (tmp_path / "runs").exists()
    assert str(prepared.folder.path) in prepared.text


def test_a_job_is_found_by_its_id(prepared: submit.Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submit.write(prepared)
    monkeypatch.setattr(client, "call", lambda argv, **more: "7;cluster\n")
    assert submit.submit(prepared, {}) == "7"
    folder = JobDir.of_job(tmp_path / "runs", "7")
    assert folder == prepared.folder
    assert Submission.read(prepared.folder) == prepared.submission
    assert JobDir.of_job(tmp_path / "runs", "8") is None
    assert prepared.folder.run_id() is None


@pytest.mark.parametrize("said", ["", "done\n", "Submitted batch job 7\n"])
def test_an_answer_without_a_job_id(prepared: submit.Prepared, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "call", lambda argv, **more: said)
    with pytest.raises(RunError, match="expected a job id"):
        submit.submit(prepared, {})


def test_only_a_standby_controller_is_asked_again(prepared: submit.Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    submit.write(prepared)
    answers: list[Any] = []
    pauses: list[float] = []

    def call(argv: list[str], **more: object) -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(client, "call", call)
    answers[:] = [client.SlurmError(submit.STANDBY), "7\n"]
    assert submit.submit(prepared, {}, pause=pauses.append) == "7"
    assert pauses == [submit.STANDBY_PAUSE_S]
    answers[:] = [client.SlurmError("Socket timed out on send/recv operation")]
    with pytest.raises(RunError, match="Socket timed out"):
        submit.submit(prepared, {}, pause=pauses.append)
    answers[:] = [client.SlurmError(submit.STANDBY)] * submit.STANDBY_ATTEMPTS
    with pytest.raises(RunError, match="standby"):
        submit.submit(prepared, {}, pause=pauses.append)


def test_the_jobs_environment_is_not_another_jobs() -> None:
    given = {
        "PATH": "/bin",
        "SLURM_CONF": "/s",
        "SLURM_JOB_ID": "1",
        "SLURMD_NODENAME": "n",
        "SBATCH_PARTITION": "p",
        "DISAGG_RUN_ID": "x",
        "DISAGG_SERVING_TYPE": "GEN_0",
        "DISAGG_DEADLINE": "1",
        "PYTEST_ADDOPTS": "-x",
        "PYTEST_XDIST_WORKER": "gw0",
        "LLM_MODELS_ROOT": "/m",
    }
    assert submit.submit_environment(given) == {"PATH": "/bin", "SLURM_CONF": "/s", "LLM_MODELS_ROOT": "/m"}


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("/a b", "/a b/slurm_%j.log"), ("/a%j", "/a%%j/slurm_%j.log"), ("/a\\b%", "/a\\\\b%/slurm.log")],
)
def test_the_log_as_a_pattern(folder: str, expected: str) -> None:
    assert submit.log_pattern(Path(folder)) == expected


def test_the_users_own_test(make_case: MakeCase, tmp_path: Path) -> None:
    test = tmp_path / "tests" / "test_mine.py"
    wanted = submit.Wanted(
        make_case(), Cluster(), tmp_path / "runs", (), test=test, test_name="test_x", rootdir=tmp_path
    )
    prepared = submit.prepare(wanted)
    assert prepared.submission.test == "tests/test_mine.py::test_x[disagg-e2e-job]"
    assert prepared.spec.cwd == tmp_path
    assert not prepared.own_test
