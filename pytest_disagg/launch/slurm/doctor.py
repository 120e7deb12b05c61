"""Checks a cluster file against the cluster: on this machine, with Slurm's commands, and with one task on a node."""

from __future__ import annotations

import re
import secrets
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.config.cluster import Cluster
from pytest_disagg.launch.slurm import client
from pytest_disagg.launch.slurm.client import SlurmError

PROGRAMS = ("sbatch", "srun", "squeue", "scontrol", "sinfo", "scancel")
NODE_LIMIT_S = 300.0
"""How long the task on a node may wait for a node and run."""

# Says one line for each check, `<name> ok|bad <detail>`; what it is told are its arguments.
ON_NODE = r"""
say() { printf '%s|%s|%s\n' "$1" "$2" "$3"; }
work=$1 token=$2 python=$3 runtime=$4; shift 4
[ "$(cat "$work/$token.login" 2>/dev/null)" = "$token" ] && say shared ok '' || say shared bad ''
(umask 022; printf %s "$token" >"$work/$token.node") 2>/dev/null && say writable ok '' || say writable bad ''
if [ "$runtime" = none ]; then
    why=$("$python" -c 'import pytest_disagg.plugin' 2>&1) && say python ok '' ||
        say python bad "$(echo "$why" | tail -n 1)"
elif [ "$runtime" = apptainer ]; then
    command -v apptainer >/dev/null && say apptainer ok '' || say apptainer bad ''
fi
for path in "$@"; do
    if [ -r "$path" ]; then say "path" ok "$path"; else say "path" bad "$path"; fi
done
"""


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
        yield _pyxis()
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
    """What one task on a node sees."""
    token = f".doctor-{secrets.token_hex(4)}"
    (work_dir / f"{token}.login").write_text(token, encoding="utf-8")
    python = cluster.python or sys.executable
    argv = ["srun", "--nodes=1", "--ntasks=1", "--time=5", f"--immediate={NODE_LIMIT_S:g}", *job_options(cluster)]
    try:
        said = client.call(
            [*argv, "sh", "-c", ON_NODE, "sh", str(work_dir), token, python, cluster.container, *_paths(cluster)],
            timeout_s=NODE_LIMIT_S,
        )
        yield Check("a task on a node", True)
        yield from _said(said, work_dir, python)
        written = work_dir / f"{token}.node"
        seen = written.exists() and written.read_text(encoding="utf-8") == token
        yield Check(
            "what a node writes is seen here", seen, str(work_dir), "work_dir: a folder on a shared file system"
        )
    except SlurmError as error:
        yield Check("a task on a node", False, str(error), "no node is free, or see above")
    finally:
        for name in ("login", "node"):
            (work_dir / f"{token}.{name}").unlink(missing_ok=True)


def _paths(cluster: Cluster) -> list[str]:
    """What has to be readable on a node."""
    paths = [cluster.models_root, cluster.llm_src, cluster.install.wheel, cluster.install.source]
    mounted = [mount.split(":")[0] for mount in cluster.mounts]
    image = [cluster.image] if cluster.image and cluster.image.startswith("/") else []
    return [*(str(path) for path in paths if path is not None), *mounted, *image]


def _said(text: str, work_dir: Path, python: str) -> Iterator[Check]:
    meanings = {
        "shared": ("work directory is shared", str(work_dir), "work_dir: a folder on a file system that nodes see"),
        "writable": ("work directory is writable on a node", str(work_dir), "give it to the user that runs jobs"),
        "python": (f"{python} with pytest-disagg on a node", "", "install: or python: an environment that nodes see"),
        "apptainer": ("apptainer on a node", "", "container: none or pyxis"),
    }
    for line in _results(text):
        name, word, detail = line
        if name == "path":
            yield Check("readable on a node", word == "ok", detail, "check the path, and whether nodes mount it")
        elif name in meanings:
            what, where, mend = meanings[name]
            yield Check(what, word == "ok", detail or where, mend)


def _results(text: str) -> Sequence[tuple[str, str, str]]:
    found = [line.split("|", 2) for line in text.splitlines() if line.count("|") >= 2]
    return [(name, word, detail) for name, word, detail in found]
