"""Clusters and projects for tests that need a real Slurm."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.slurm.jobs import Project
from tests.slurm.lab import ACCOUNTING_PROGRAMS, PROGRAMS, SlurmCluster, missing


def _skip_unless_possible(programs: Sequence[str]) -> None:
    if absent := missing(programs):
        pytest.skip(f"no Slurm here ({', '.join(absent)} missing): bash tests/apt.sh installs it")
    if os.geteuid() != 0:
        pytest.skip("slurmd of several nodes needs root")


def _running(name: str, accounting: bool) -> Iterator[SlurmCluster]:
    folder = Path(tempfile.mkdtemp(prefix="disagg-slurm-"))
    folder.chmod(0o755)
    cluster = SlurmCluster(folder, name, accounting)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def slurm_session() -> Iterator[SlurmCluster]:
    _skip_unless_possible(PROGRAMS)
    yield from _running("lab", accounting=False)


@pytest.fixture
def slurm(slurm_session: SlurmCluster) -> Iterator[SlurmCluster]:
    """Four idle nodes with four GPUs each; no job is left afterwards."""
    yield slurm_session
    slurm_session.reset()


@pytest.fixture(scope="session")
def accounted_slurm() -> Iterator[SlurmCluster]:
    """A cluster of its own, with slurmdbd and MariaDB."""
    _skip_unless_possible((*PROGRAMS, *ACCOUNTING_PROGRAMS))
    yield from _running("lab-accounted", accounting=True)


@pytest.fixture
def project(slurm: SlurmCluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """A project with a case and a cluster file; every process that it started is gone after the test."""
    made = Project.make(tmp_path, slurm)
    # As record_property does it, which refuses the junit family that pytest writes by default.
    made.note = lambda name, value: request.node.user_properties.append((name, value))
    yield made
    made.close()
