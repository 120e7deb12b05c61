"""Which address the servers of a process bind."""

from __future__ import annotations

import socket

import pytest

from pytest_disagg.errors import UsageError
from pytest_disagg.plugin.hosts import host_to_bind


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The only host names that resolve: a test must not depend on the machine's."""
    known = {"node7": "10.0.0.7", "127.0.0.1": "127.0.0.1", "10.1.2.3": "10.1.2.3"}

    def resolve(name: str) -> str:
        if name not in known:
            raise socket.gaierror(f"no {name}")
        return known[name]

    monkeypatch.setattr(socket, "gethostbyname", resolve)
    return known


@pytest.mark.parametrize(
    "environ", [{}, {"SLURM_NNODES": "1"}, {"SLURM_JOB_NUM_NODES": "1", "SLURMD_NODENAME": "node7"}]
)
def test_one_machine_is_loopback(environ: dict[str, str]) -> None:
    assert host_to_bind(None, environ) == "127.0.0.1"


@pytest.mark.usefixtures("names")
def test_a_job_of_several_nodes_is_this_nodes_name() -> None:
    assert host_to_bind(None, {"SLURM_JOB_NUM_NODES": "3", "SLURMD_NODENAME": "node7"}) == "10.0.0.7"
    assert host_to_bind(None, {"SLURM_NNODES": "2", "SLURMD_NODENAME": "node7"}) == "10.0.0.7"


def test_an_interface_is_its_address() -> None:
    assert host_to_bind("lo", {"SLURM_NNODES": "2"}) == "127.0.0.1"


@pytest.mark.usefixtures("names")
def test_a_name_or_an_address_is_taken() -> None:
    assert host_to_bind("node7", {}) == "10.0.0.7"
    assert host_to_bind("10.1.2.3", {}) == "10.1.2.3"


@pytest.mark.usefixtures("names")
def test_anything_else_names_the_interfaces_there_are() -> None:
    with pytest.raises(UsageError, match=r"--disagg-interface: 'ib9' is no interface of this machine \(.*lo.*\)"):
        host_to_bind("ib9", {})
    with pytest.raises(UsageError, match=r"this node's name \(--disagg-interface, .*: 'node8' is no interface"):
        host_to_bind(None, {"SLURM_NNODES": "2", "SLURMD_NODENAME": "node8"})
