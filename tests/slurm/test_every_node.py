"""An engine that starts a process on every node of a server (SGLang and others): leader, followers, where they meet."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_disagg.rundir.files import read_json
from tests.slurm.jobs import CASE, CASE_ID, LONG_LOAD, Job, Project, assert_red, processes_of

FUNCTIONAL = 7
ENGINE = '''\
"""The simulated server on the first node; on the others a process that has to reach it, as a collective would."""

import dataclasses
import sys

from pytest_disagg.engines.sim.engine import SimEngine

NODE = """
import socket, sys, time
rank, nodes, (host, port) = sys.argv[1], sys.argv[2], sys.argv[3].rsplit(":", 1)
meeting = socket.socket()
meeting.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
ends_at = time.monotonic() + 120
while time.monotonic() < ends_at:
    try:
        meeting = socket.create_connection((host, int(port)), timeout=5)
        break
    except OSError:
        time.sleep(0.1)
else:
    sys.exit(3)
print("node", rank, "of", nodes, "met rank 0", flush=True)
meeting.settimeout(None)
meeting.recv(1)
"""
LEADER = """
import os, socket, sys
host, port = sys.argv[1].rsplit(":", 1)
meeting = socket.socket()
meeting.bind((host, int(port)))
meeting.listen()
os.set_inheritable(meeting.fileno(), True)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class NodesEngine(SimEngine):
    name = "nodes"

    def on_every_node(self, case, spec):
        return True

    def server(self, request):
        if request.node_rank == 0:
            launch = super().server(request)
            if request.nodes == 1:
                return launch
            argv = (sys.executable, "-c", LEADER, request.rendezvous, *launch.argv[1:])
            return dataclasses.replace(launch, argv=argv, facts={"word": "hello"})
        assert request.lead == {"word": "hello"}
        place = (str(request.node_rank), str(request.nodes), request.rendezvous)
        argv = (sys.executable, "-c", NODE, *place)
        return dataclasses.replace(super().server(request), argv=argv, address_file=None)
'''
NODES: dict[str, Any] = {
    "engine": "nodes",
    # GEN_0 spans two nodes of two GPUs, CTX_0 has one.
    "hardware": {"gpus_per_node": 2, "num_ctx_servers": 1, "num_gen_servers": 1},
    "worker_config": {
        "gen": {"tensor_parallel_size": 4, "max_batch_size": 16, "stream_interval": 1},
        "ctx": {"tensor_parallel_size": 2, "max_batch_size": 16},
    },
}


@pytest.fixture
def site(tmp_path: Path) -> dict[str, str]:
    """PYTHONPATH with the engine's package: the launcher, too, has to know it."""
    site = tmp_path / "site"
    info = site / "nodes_engine-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "nodes_engine.py").write_text(ENGINE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nodes-engine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pytest_disagg.engines]\nnodes = nodes_engine:NodesEngine\n")
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))}


def submitted(project: Project, site: dict[str, str], *arguments: str) -> Job:
    command = project.disagg("run", "cases/job.yaml", "--config-dir=cases", "--junitxml=r.xml", *arguments, env=site)
    return Job(project, command, project.job_id(command))


def test_each_node_starts_its_part_of_a_server(project: Project, site: dict[str, str]) -> None:
    project.case("job", **NODES)
    job = submitted(project, site)
    assert job.command.end() == 0, job.said()
    assert job.rundir.log("GEN_0.node1").read_text().splitlines()[0] == "node 1 of 2 met rank 0"
    leader = read_json(job.rundir.role("GEN_0"))
    follower = read_json(job.rundir.role("GEN_0.node1"))
    assert leader is not None
    assert follower is not None
    assert (leader["node"], follower["node"]) == ("n1", "n2")
    assert follower["state"] == "stopped"
    # The leader of a server on one node tells nobody where to meet.
    alone = read_json(job.rundir.role("CTX_0"))
    assert alone is not None
    assert (alone["facts"], sorted(leader["facts"])) == ({}, ["lead.0.word", "rendezvous.0", "word"])
    assert job.result()["steps"] == dict.fromkeys(("check", "GEN_0", "CTX_0", "DISAGG_SERVER", "BENCHMARK"), 0)
    assert project.junit().text == ""
    job.assert_nothing_left()


def test_a_node_that_dies_is_the_cause(project: Project, site: dict[str, str]) -> None:
    project.case("job", **NODES)
    job = submitted(project, site, LONG_LOAD)
    job.wait_until_measuring()

    def nodes() -> list[int]:
        return [pid for pid, words in processes_of(project.folder).items() if words[-4:-2] == ["1", "2"]]

    # This leader serves without them, so the load may have begun before.
    job.command.wait_for(lambda: bool(nodes()), "the second node of GEN_0")
    (node,) = nodes()
    job.event()
    os.kill(node, signal.SIGKILL)
    assert_red(job, FUNCTIONAL, "functional", "GEN_0.node1", "GEN server 0 (node 1) was killed by SIGKILL")
    assert job.run("0", CASE_ID).outcome.exists()
    job.assert_nothing_left()


def test_an_aggregated_case_on_every_node(project: Project, site: dict[str, str]) -> None:
    loads = [{"name": "con4", "concurrency": 4, "iterations": 3, "isl": 32, "osl": 8}]
    blocks = [{"name": "both", "tensor_parallel_size": 4, "max_batch_size": 16, "client_configs": loads}]
    document = {**CASE, **NODES, "cases": ["aggr"], "hardware": {"gpus_per_node": 2}, "server_configs": blocks}
    for name in ("benchmark", "worker_config"):
        del document[name]
    (project.folder / "cases" / "job.yaml").write_text(yaml.safe_dump(document))
    job = submitted(project, site)
    assert job.command.end() == 0, job.said()
    rundir = job.run("0", "aggr-job")
    assert rundir.log("SERVER_0.node1").read_text().splitlines()[0] == "node 1 of 2 met rank 0"
    assert project.junit().text == ""
    job.assert_nothing_left()
