"""Engine ``trtllm`` in a job: every rank of a server below the launcher. Launcher and servers are stand-ins."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import yaml

from tests import standins
from tests.slurm.jobs import CASE, CASE_ID, LONG_LOAD, Job, Project, assert_red, processes_of
from tests.standins import nvidia_smi

INFRASTRUCTURE = 8
TRTLLM: dict[str, Any] = {
    "engine": "trtllm",
    "sim": {},
    # GEN_0 spans two nodes, CTX_0 has one.
    "hardware": {"gpus_per_node": 1, "num_ctx_servers": 1, "num_gen_servers": 1},
    "environment": {"worker_env_var": "OF_THE_FILE=1"},
    "clocks": {"gpu_mhz": 1410},
}
UUID = "GPU-00000000-stand-in"


def path_of(tmp_path: Path) -> str:
    nvidia_smi.install(tmp_path / "bin")
    return standins.install(tmp_path / "bin")


def asked_of_gpus(tmp_path: Path) -> list[str]:
    """What nvidia-smi was told to set, in order; it is one for all nodes."""
    return [line.removeprefix(f"{UUID} ") for line in (tmp_path / "bin/asked").read_text().splitlines()]


def submitted(project: Project, tmp_path: Path, *arguments: str) -> Job:
    project.case("job", **TRTLLM)
    command = project.disagg(
        *("run", "cases/job.yaml", "--config-dir=cases", "--junitxml=r.xml", *arguments),
        env={"PATH": path_of(tmp_path)},
    )
    return Job(project, command, project.job_id(command))


def test_a_server_on_two_nodes(project: Project, tmp_path: Path) -> None:
    job = submitted(project, tmp_path)
    assert job.command.end() == 0, job.said()
    log = job.rundir.pytest_log("GEN_0").read_text()
    assert "[stand-in trtllm-llmapi-launch] rank 0 of 2 on n1: mgmn_leader_node of a stand-in: starts " in log
    assert "[stand-in trtllm-llmapi-launch] rank 1 of 2 on n2: rank 0 has ended" in log
    # Before the launcher stands what every rank of the server needs, each with its own SLURM_LOCALID.
    for line in ("FLASHINFER_JIT_DIR=/tmp/flashinfer_jit_cache_0", "OF_THE_FILE=1"):
        assert log.count(f"\n{line}\n") == 2, log
    assert "stand-in trtllm-serve: no TensorRT-LLM here" in job.rundir.log("GEN_0").read_text()
    assert job.result()["steps"] == dict.fromkeys(("check", "GEN_0", "CTX_0", "DISAGG_SERVER", "BENCHMARK"), 0)
    assert not job.rundir.secrets.exists()
    assert project.junit().text == ""
    job.assert_nothing_left()
    # Both nodes of GEN_0, the second of which has no role, and that of CTX_0.
    assert asked_of_gpus(tmp_path) == ["-lgc 1410,1410"] * 3 + ["-rgc"] * 3


def test_kill_9_of_a_rank_that_is_not_the_leader(project: Project, tmp_path: Path) -> None:
    job = submitted(project, tmp_path, LONG_LOAD)
    job.wait_until_measuring()
    # CTX_0 has no rank 1.
    (worker,) = [
        pid
        for pid, words in processes_of(project.folder).items()
        if any(word.endswith("/trtllm-llmapi-launch") for word in words) and b"\0SLURM_PROCID=1\0" in environ_of(pid)
    ]
    job.event()
    os.kill(worker, signal.SIGKILL)
    assert_red(job, INFRASTRUCTURE, "infrastructure", "GEN_0", "rank 1", "SIGKILL")
    assert job.run("0", CASE_ID).outcome.exists()
    job.assert_nothing_left()
    assert asked_of_gpus(tmp_path).count("-rgc") == 3


def environ_of(pid: int) -> bytes:
    return b"\0" + Path(f"/proc/{pid}/environ").read_bytes()


def test_an_aggregated_server_on_two_nodes(project: Project, tmp_path: Path) -> None:
    """Its step is called BENCHMARK, and an MPI job all the same: the launcher needs to know of its ranks."""
    loads = [{"name": "con4", "concurrency": 4, "iterations": 3, "isl": 32, "osl": 8}]
    blocks = [{"name": "tp2", "tensor_parallel_size": 2, "max_batch_size": 16, "client_configs": loads}]
    document = {**CASE, **TRTLLM, "cases": ["aggr"], "hardware": {"gpus_per_node": 1}, "server_configs": blocks}
    for name in ("benchmark", "worker_config", "environment"):
        del document[name]
    (project.folder / "cases" / "job.yaml").write_text(yaml.safe_dump(document))
    command = project.disagg(
        *("run", "cases/job.yaml", "--config-dir=cases", "--junitxml=r.xml"),
        env={"PATH": path_of(tmp_path)},
    )
    job = Job(project, command, project.job_id(command))
    assert command.end() == 0, job.said()
    log = job.run("0", "aggr-job").pytest_log("BENCHMARK").read_text()
    assert "[stand-in trtllm-llmapi-launch] rank 0 of 2 on n1: the command ended: exit code 0" in log
    assert "[stand-in trtllm-llmapi-launch] rank 1 of 2 on n2: rank 0 has ended" in log
    assert project.junit().text == ""
    job.assert_nothing_left()
