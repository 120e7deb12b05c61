"""What needs accounting: who cancelled, jobs that slurmctld has forgotten, and slurmdbd failing during the wait."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_disagg.launch.slurm import client
from tests.slurm.jobs import ONE_NODE, Job, Project
from tests.slurm.lab import SlurmCluster
from tests.waiting import until


@pytest.fixture
def accounted(accounted_slurm: SlurmCluster, tmp_path: Path) -> Iterator[Project]:
    made = Project.make(tmp_path, accounted_slurm)
    made.case("job", **ONE_NODE)
    yield made
    made.close()
    accounted_slurm.reset()


@pytest.fixture
def as_client(accounted_slurm: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", str(accounted_slurm.conf))


@pytest.mark.usefixtures("as_client")
def test_slurmdbd_stops_during_the_wait(accounted: Project) -> None:
    job = accounted.started()
    slurm = accounted.slurm
    slurm.stop_daemon("slurmdbd")
    with pytest.raises(client.SlurmError):
        client.accounted(job.job_id)
    try:
        job.slurm("scancel", job.job_id)
        assert job.end() == 2, job.said()
    finally:
        slurm.start_slurmdbd()
    assert f"Slurm job {job.job_id} was cancelled" in accounted.junit().headline
    job.assert_nothing_left()


@pytest.mark.usefixtures("as_client")
def test_who_cancelled_a_job_that_had_not_started(accounted: Project) -> None:
    accounted.cluster(sbatch=["--begin=now+1hour"])
    command = accounted.run("--no-wait")
    job = Job(accounted, command, accounted.job_id(command))
    job.slurm("scancel", job.job_id)
    cancelled: list[str] = []

    def known() -> bool:
        with contextlib.suppress(client.SlurmError):
            found = client.accounted(job.job_id)
            # The state can be there a moment before the name is.
            cancelled[:] = [found.cancelled_by] if found and found.cancelled_by else []
        return bool(cancelled)

    until(known, "accounting to know the end")
    assert cancelled == ["0"]
    waited = accounted.disagg("wait", job.job_id)
    assert waited.end() == 2, waited.output
    assert "was cancelled by root (uid 0)" in waited.output
