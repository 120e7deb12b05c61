"""What a command's environment is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_disagg.wrapper.console import WrapperError
from pytest_disagg.wrapper.environment import (
    clear_mpi,
    clears_mpi,
    name_the_run,
    prepend_library_path,
    settle_transport,
)
from pytest_disagg.wrapper.step import Step, seconds


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "/w/libs"),
        ("", "/w/libs"),
        ("/a:/b", "/w/libs:/a:/b"),
        ("/a:", "/w/libs:/a"),
        (":/a::/b:", "/w/libs:/a:/b"),
        ("/w/libs", "/w/libs"),
        ("/a:/w/libs", "/a:/w/libs"),
        ("/x/w/libs/y", "/w/libs:/x/w/libs/y"),
        ("/w/libs64", "/w/libs:/w/libs64"),
    ],
)
def test_the_library_folder_comes_first_and_once(before: str | None, after: str) -> None:
    environ = {} if before is None else {"LD_LIBRARY_PATH": before}
    for _ in range(2):
        prepend_library_path(environ, Path("/w/libs"))
        assert environ["LD_LIBRARY_PATH"] == after


@pytest.mark.parametrize(
    ("before", "after"), [("tcp", None), ("tcp,self", "tcp,self"), ("^gdr_copy", "^gdr_copy"), ("", "")]
)
def test_only_the_leaked_transport_is_dropped(before: str, after: str | None) -> None:
    environ = {"UCX_TLS": before, "PMIX_MCA_gds": "ds21"}
    settle_transport(environ)
    assert environ.get("UCX_TLS") == after
    assert environ["PMIX_MCA_gds"] == "hash"


def test_clearing_keeps_the_rank_and_copies_what_a_manifest_wants() -> None:
    environ = {
        "PMI_RANK": "0",
        "PMIX_RANK": "0",
        "MPI_X": "1",
        "OMPI_COMM": "1",
        "SLURM_PROCID": "3",
        "SLURM_JOB_ID": "7",
        "SLURMD_NODENAME": "n1",
        "PATH": "/bin",
        "IMPI": "x",
        "DISAGG_SERVING_TYPE": "BENCHMARK",
    }
    cleared = clear_mpi(environ)
    assert cleared == ["MPI_X", "OMPI_COMM", "PMIX_RANK", "PMI_RANK", "SLURMD_NODENAME", "SLURM_JOB_ID"]
    assert environ == {
        "SLURM_PROCID": "3",
        "PATH": "/bin",
        "IMPI": "x",
        "DISAGG_SERVING_TYPE": "BENCHMARK",
        "DISAGG_SLURM_JOB_ID": "7",
        "DISAGG_SLURMD_NODENAME": "n1",
    }


@pytest.mark.parametrize(
    ("role", "nodes", "clears"),
    [
        ("GEN_0", "2", False),
        ("GEN_0", "1", True),
        ("GEN_0", "", True),
        ("BENCHMARK", "4", True),
        ("DISAGG_SERVER", "4", True),
        ("", "4", False),
        ("", "1", True),
    ],
)
def test_who_must_not_find_an_mpi(role: str, nodes: str, clears: bool) -> None:
    assert clears_mpi(Step.of({"DISAGG_SERVING_TYPE": role, "SLURM_JOB_NUM_NODES": nodes})) is clears


@pytest.mark.parametrize(("ranks", "clears"), [("all", False), ("leader", True)])
def test_an_aggregated_server_of_several_nodes_is_an_mpi_job(ranks: str, clears: bool) -> None:
    environ = {"DISAGG_SERVING_TYPE": "BENCHMARK", "SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS": "8"}
    assert clears_mpi(Step.of({**environ, "DISAGG_RANKS": ranks})) is clears


@pytest.mark.parametrize(
    ("environ", "run_id"),
    [
        ({"SLURM_JOB_ID": "12"}, "12.0"),
        ({"SLURM_JOB_ID": "12", "SLURM_RESTART_COUNT": "2"}, "12.2"),
        ({"SLURM_JOB_ID": "12", "DISAGG_RUN_ID": "mine"}, "mine"),
        ({}, None),
    ],
)
def test_the_run_is_named_after_job_and_restart(environ: dict[str, str], run_id: str | None) -> None:
    name_the_run(environ, Step.of(environ))
    assert environ.get("DISAGG_RUN_ID") == run_id


def test_a_step_says_which_task_it_is() -> None:
    step = Step.of({"SLURM_JOB_ID": "9", "SLURM_RESTART_COUNT": "1", "SLURM_STEP_ID": "4", "SLURM_PROCID": "3"})
    assert (step.key, step.attempt, step.rank, step.owns_results) == (
        "job_9_restart_1_step_4",
        "job_9_restart_1",
        3,
        False,
    )


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"SLURM_PROCID": "-1"}, "SLURM_PROCID: found '-1', expected a number of 0 or more"),
        ({"DISAGG_RANKS": "some"}, "DISAGG_RANKS: found 'some', expected all or leader"),
    ],
)
def test_a_step_that_cannot_be(environ: dict[str, str], message: str) -> None:
    with pytest.raises(WrapperError, match=message):
        Step.of(environ)


@pytest.mark.parametrize("text", ["0", "-1", "x", "inf", "nan"])
def test_a_limit_that_is_none(text: str) -> None:
    with pytest.raises(WrapperError, match=f"LIMIT: found '{text}', expected seconds, more than 0"):
        seconds({"LIMIT": text}, "LIMIT", 1.0)
