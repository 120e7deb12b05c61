"""Servers that do not fill their nodes, and servers that share one, land where the plan puts them."""

from __future__ import annotations

import json

from tests.slurm.jobs import CASE, CASE_ID, WHOLE_NODES, Job, Project


def played(project: Project) -> Job:
    command = project.run()
    job = Job(project, command, project.job_id(command))
    assert command.end() == 0, job.said()
    return job


def ranks(job: Job, role: str) -> list[tuple[int, str]]:
    """Rank and node of every task of a step, as the tasks themselves say: SLURM_PROCID and SLURMD_NODENAME."""
    folder = job.rundir.path / "roles"
    states = [path for path in folder.glob(f"{role}.[0-9]*.json") if not path.name.endswith(".exit.json")]
    said = [json.loads(path.read_text()) for path in states]
    return sorted((each["rank"], each["node"]) for each in said)


def test_an_uneven_server_has_exactly_its_world_size_of_tasks(project: Project) -> None:
    workers = {**WHOLE_NODES["worker_config"], "gen": {**CASE["worker_config"]["gen"], "tensor_parallel_size": 6}}
    project.case("job", hardware=WHOLE_NODES["hardware"], worker_config=workers)
    job = played(project)
    assert ranks(job, "GEN_0") == [(rank, "n1" if rank < 4 else "n2") for rank in range(6)]
    assert ranks(job, "CTX_0") == [(0, "n3"), (1, "n3")]
    assert ranks(job, "CTX_1") == [(0, "n4"), (1, "n4")]


def test_servers_on_one_node_have_their_own_gpus(project: Project) -> None:
    workers = {kind: {**block, "tensor_parallel_size": 2} for kind, block in CASE["worker_config"].items()}
    hardware = {"gpus_per_node": 4, "num_ctx_servers": 1, "num_gen_servers": 1, "share_nodes": True}
    project.case("job", hardware=hardware, worker_config=workers)
    job = played(project)
    assert ranks(job, "GEN_0") == [(0, "n1"), (1, "n1")]
    assert ranks(job, "CTX_0") == [(0, "n1"), (1, "n1")]
    for role, gpus in (("GEN_0", "0,1"), ("CTX_0", "2,3")):
        assert f"\nCUDA_VISIBLE_DEVICES={gpus}\n" in job.rundir.pytest_log(role).read_text()


def test_only_workers_get_the_mpi_option(project: Project) -> None:
    project.cluster(mpi="pmi2")
    command = project.run("--dry-run")
    assert command.end() == 0, command.output
    lines = {line.split()[1]: line for line in command.output.splitlines() if line.startswith("role ")}
    assert {role: "--mpi=pmi2" in line for role, line in lines.items()} == {
        "GEN_0": True,
        "CTX_0": True,
        "CTX_1": True,
        "DISAGG_SERVER": False,
        "BENCHMARK": False,
    }
    assert CASE_ID in command.output
