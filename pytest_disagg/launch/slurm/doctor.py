"""Checks a cluster file against the cluster: on this machine, with Slurm's commands, and with one task on a node."""

from __future__ import annotations

import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.config.cluster import Cluster
from pytest_disagg.launch.slurm import checks, client
from pytest_disagg.launch.slurm.client import SlurmError
from pytest_disagg.launch.slurm.containers import Container, container_of, needed_paths

PROGRAMS = ("sbatch", "srun", "squeue", "scontrol", "sinfo", "scancel")
NODE_LIMIT_S = 300.0
"""How long the task on a node may wait for a node and run."""

MENDS = {
    "Python": "python: one of 3.10 or newer that nodes see",
    "pytest-disagg": "python: or install: an environment with this version that nodes see",
    "shared work directory": "work_dir: a folder on a file system that nodes share",
    "writable work directory": "give it to the user that runs jobs",
    "free space": "make room, or choose another folder",
}


@dataclass(frozen=True)
class Check:
    """One thing looked at. ``mend`` says what to do where it is not ``ok``."""

    name: str
    ok: bool
    detail: str = ""
    mend: str = ""

    def __str__(self) -> str:
        text = f"{'ok ' if self.ok else 'BAD'}  {self.name}{': ' + self.detail if self.detail else ''}"
        return text if self.ok or not self.mend else f"{text}\n     mend: {self.mend}"


def examine(cluster: Cluster, work_dir: Path, *, on_node: bool = True) -> Iterator[Check]:
    """Every check, in the order in which one would mend them. What cannot be asked is not ok, and says why."""
    absent = [program for program in PROGRAMS if shutil.which(program) is None]
    yield Check("Slurm's commands", not absent, ", ".join(absent) or "all there", "run this on a login node")
    if absent:
        return
    yield from _controller()
    yield from _partition(cluster)
    yield _submission(cluster)
    if cluster.container == "pyxis":
        pyxis = _pyxis()
        yield pyxis
        on_node = on_node and pyxis.ok
    work_dir.mkdir(parents=True, exist_ok=True)
    if on_node:
        yield from _node(cluster, work_dir)


def job_options(cluster: Cluster) -> list[str]:
    """What the cluster file asks of every job, for sbatch and srun alike."""
    options = [f"--partition={cluster.partition}"] if cluster.partition else []
    return options + ([f"--account={cluster.account}"] if cluster.account else [])


def _controller() -> Iterator[Check]:
    try:
        said = client.call(["scontrol", "ping"])
        yield Check("slurmctld", "UP" in said, said.strip().splitlines()[0], "ask the site's administrators")
    except SlurmError as error:
        yield Check("slurmctld", False, str(error), "check SLURM_CONF, or ask the site's administrators")


def _partition(cluster: Cluster) -> Iterator[Check]:
    """The partition, and GPUs per node as the cluster file states them."""
    argv = ["sinfo", "--noheader", "--format=%P|%D|%G"]
    try:
        lines = [line.split("|") for line in client.call(argv).splitlines()]
    except SlurmError as error:
        yield Check("partition", False, str(error))
        return
    wanted = [
        line for line in lines if (line[0].rstrip("*") == cluster.partition if cluster.partition else "*" in line[0])
    ]
    names = ", ".join(sorted({line[0].rstrip("*") for line in lines}))
    name = cluster.partition or "the default one"
    yield Check("partition", bool(wanted), name, f"set partition to one of: {names}")
    if not wanted:
        return
    gpus = max(_gpus(line[2]) for line in wanted)
    if cluster.gpus_per_node is not None:
        fits = gpus == cluster.gpus_per_node or cluster.gpu_request == "none"
        yield Check(
            "GPUs per node", fits, f"Slurm says {gpus}, the file {cluster.gpus_per_node}", f"gpus_per_node: {gpus}"
        )
    elif cluster.gpu_request != "none":
        yield Check("GPUs", gpus > 0, f"{gpus} per node", "gpu_request: none, where Slurm does not manage the GPUs")


def _gpus(gres: str) -> int:
    """``gpu:a100:4(S:0-1),shard:8`` -> 4."""
    return sum(int(count) for count in re.findall(r"(?:^|,)gpu:(?:[^:,(]+:)?(\d+)", gres))


def _submission(cluster: Cluster) -> Check:
    """Whether Slurm would take a job with this account, partition and options."""
    argv = ["sbatch", "--test-only", "--nodes=1", "--time=5", *job_options(cluster), *cluster.sbatch, "--wrap=true"]
    try:
        client.call(argv)
    except SlurmError as error:
        return Check("sbatch --test-only", False, str(error), "check account, partition and the sbatch options")
    return Check("sbatch --test-only", True, f"account {cluster.account or 'default'}")


def _pyxis() -> Check:
    try:
        known = "--container-image" in client.call(["srun", "--help"])
    except SlurmError as error:
        return Check("pyxis", False, str(error))
    return Check("pyxis", known, "" if known else "srun has no --container-image", "container: none or apptainer")


def _node(cluster: Cluster, work_dir: Path) -> Iterator[Check]:
    """What one task on a node finds, with the check that every job makes first, in the job's container."""
    token = secrets.token_hex(4)
    folder = work_dir / f".doctor-{token}"
    folder.mkdir()
    try:
        shutil.copyfile(checks.PROGRAM, folder / checks.PROGRAM.name)
        (folder / "mark").write_text(token, encoding="utf-8")
        said = checks.read(_task(cluster, folder, token).splitlines())
        yield Check("a task on a node", True, said[0].node if said else "")
        for each in said:
            where = each.found if each.ok else f"found {each.found}, expected {each.expected}"
            mend = MENDS.get(each.check, "check the path, and whether nodes mount it")
            yield Check(f"{each.check} on a node", each.ok, where, mend)
        written = [path.read_text(encoding="utf-8") for path in folder.glob(".check.*")]
        seen = written == [each.node for each in said[:1]]
        yield Check("what a node writes is seen here", seen, str(work_dir), MENDS["shared work directory"])
    except SlurmError as error:
        yield Check(
            "a task on a node", False, str(error), "no node is free, what it says is missing there, or see above"
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _task(cluster: Cluster, folder: Path, token: str) -> str:
    """What the task printed.

    Raises:
        SlurmError: no node in time, or the check could not be started there.
    """
    container = container_of(cluster, (folder.parent, *needed_paths(cluster)), folder)
    if container.image_import is not None and not container.image_import.file.exists():
        container = Container()  # the first job imports the image
    python = cluster.python or sys.executable
    wanted = checks.of_cluster(cluster, folder / "mark")
    limits = ("--nodes=1", "--ntasks=1", "--time=5", f"--immediate={NODE_LIMIT_S:g}")
    program = (python, str(folder / checks.PROGRAM.name), wanted.text(), token, str(folder))
    return client.call(
        ["srun", *limits, *job_options(cluster), *container.options, *container.prefix, *program],
        timeout_s=NODE_LIMIT_S,
        allowed=(0, checks.FAILED),
    )
