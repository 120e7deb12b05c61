"""A project on the cluster, the jobs that `disagg run` makes of it, and what they left behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import yaml

from pytest_disagg.rundir.files import read_json
from pytest_disagg.rundir.layout import RunDir
from tests.slurm.lab import SlurmCluster
from tests.waiting import LIMIT_S

CASE_ID = "disagg-e2e-job"
ROLES = ("GEN_0", "CTX_0", "CTX_1", "DISAGG_SERVER", "BENCHMARK")
LONG_LOAD = "--set=benchmark.multi_round=4000"
CASE: dict[str, Any] = {
    "engine": "sim",
    "cases": ["disagg-e2e"],
    "metadata": {"model_name": "sim-8b"},
    "slurm": {"timeout": 240},
    "benchmark": {
        "concurrency_list": "4",
        "multi_round": 3,
        "input_length": 32,
        "output_length": 8,
        "streaming": True,
    },
    # GEN_0 spans two nodes, each CTX server has one: the whole cluster, with few processes.
    "hardware": {"gpus_per_node": 1, "num_ctx_servers": 2, "num_gen_servers": 1},
    "worker_config": {
        "gen": {"tensor_parallel_size": 2, "max_batch_size": 16, "stream_interval": 1},
        "ctx": {"tensor_parallel_size": 1, "max_batch_size": 16},
    },
    "sim": {"decode_step_ms": 20},
    "timeouts": {
        "launch_s": 40,
        "ready_s": 40,
        "probe_s": 10,
        "warmup_s": 10,
        "measure_s": 90,
        "stall_s": 20,
        "store_s": 15,
        "stop_s": 20,
        "grace_s": 1,
        "heartbeat_timeout_s": 10,
    },
    # A machine that is busy with other tests must not make a fast load invalid.
    "gate": {"min_concurrency_ratio": 0.1, "max_client_lag_ms": 5000.0, "max_client_cpu": 100.0},
}
WHOLE_NODES: dict[str, Any] = {
    "hardware": {"gpus_per_node": 4, "num_ctx_servers": 2, "num_gen_servers": 1},
    "worker_config": {
        "gen": {"tensor_parallel_size": 8, "max_batch_size": 16, "stream_interval": 1},
        "ctx": {"tensor_parallel_size": 2, "max_batch_size": 16},
    },
}
"""The same with every GPU of GEN_0's nodes: eight ranks."""
ONE_NODE: dict[str, Any] = {
    "hardware": {"gpus_per_node": 2, "num_ctx_servers": 1, "num_gen_servers": 1, "share_nodes": True},
    "worker_config": {kind: {**block, "tensor_parallel_size": 1} for kind, block in CASE["worker_config"].items()},
}
"""The quickest whole run: one CTX and one GEN server beside each other."""
CLUSTER: dict[str, Any] = {"interface": "127.0.0.1", "mpi": "none", "environment_rules": "none"}


@dataclass(frozen=True)
class Junit:
    """One test of a junit file; ``text`` is its failure's, empty where it is green."""

    text: str
    properties: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> Junit:
        (case,) = ElementTree.parse(path).getroot().iter("testcase")
        assert case.find("skipped") is None, ElementTree.tostring(case, encoding="unicode")
        failure = case.find("failure")
        properties = {item.attrib["name"]: item.attrib["value"] for item in case.iter("property")}
        return cls("" if failure is None else failure.text or "", properties)

    @property
    def headline(self) -> str:
        return self.text.partition("\n")[0]


@dataclass
class Command:
    """A ``disagg`` command in a process of its own."""

    process: subprocess.Popen[bytes]
    out: Path

    @property
    def output(self) -> str:
        return self.out.read_text(encoding="utf-8", errors="replace")

    def end(self) -> int:
        """Wait for its end; its exit code."""
        try:
            return self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {LIMIT_S:g} s:\n{self.output}") from None

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for ``condition`` while the command goes on; one that ends before fails with its output."""
        ends_at = time.monotonic() + LIMIT_S
        while not condition():
            assert self.process.poll() is None or condition(), f"ended before {what}\n{self.output}"
            assert time.monotonic() < ends_at, f"waited {LIMIT_S:g} s for {what}\n{self.output}"
            time.sleep(0.02)

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)


@dataclass
class Project:
    """A folder with cases and a cluster file, on a cluster."""

    folder: Path
    slurm: SlurmCluster
    commands: list[Command] = field(default_factory=list)
    note: Callable[[str, object], None] = print
    """What is worth knowing of a passing test: how long things took."""

    @classmethod
    def make(cls, folder: Path, slurm: SlurmCluster) -> Project:
        project = cls(folder, slurm)
        (folder / "cases").mkdir()
        project.case("job")
        project.cluster()
        return project

    def case(self, name: str, **changes: Any) -> Path:
        """Write a case file; ``changes`` replace whole top-level keys."""
        path = self.folder / "cases" / f"{name}.yaml"
        path.write_text(yaml.safe_dump({**CASE, **changes}, sort_keys=False))
        return path

    def cluster(self, **changes: Any) -> None:
        """Write the cluster file."""
        content = {"clusters": {"lab": {**CLUSTER, "work_dir": str(self.work_dir), **changes}}}
        (self.folder / "cluster.yaml").write_text(yaml.safe_dump(content))

    @property
    def work_dir(self) -> Path:
        return self.folder / "runs"

    @property
    def env(self) -> dict[str, str]:
        """What commands and their jobs see: this project's cluster file, and no earlier run of another test."""
        own = {"DISAGG_CLUSTER": self.folder / "cluster.yaml", "DISAGG_HISTORY": self.folder / "history"}
        own["DISAGG_HTML"] = Path("none")  # a page takes longer than many a job here
        return {**self.slurm.env, **{name: str(path) for name, path in own.items()}, "PYTHONUNBUFFERED": "1"}

    def start(self, *argv: str, env: Mapping[str, str] | None = None) -> Command:
        """Start a command in the project, its output in a file."""
        out = self.folder / f"{len(self.commands)}.out"
        with out.open("wb") as file:
            process = subprocess.Popen(
                argv,
                cwd=self.folder,
                env={**self.env, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.commands.append(Command(process, out))
        return self.commands[-1]

    def disagg(self, *arguments: str, env: Mapping[str, str] | None = None) -> Command:
        return self.start(sys.executable, "-m", "pytest_disagg.cli.main", *arguments, env=env)

    def run(self, *arguments: str, case: str = "job") -> Command:
        """``disagg run`` of a case, under way."""
        return self.disagg("run", f"cases/{case}.yaml", "--config-dir=cases", "--junitxml=r.xml", *arguments)

    def started(self, *arguments: str) -> Job:
        """A job whose load is under way."""
        command = self.run(LONG_LOAD, *arguments)
        job = Job(self, command, self.job_id(command))
        job.wait_until_measuring()
        return job

    def job_id(self, command: Command, nth: int = 0) -> str:
        """The id of the ``nth`` job that the command submitted."""

        def ids() -> list[str]:
            return re.findall(r": job (\d+), ", command.output)

        command.wait_for(lambda: len(ids()) > nth, "a job id")
        return ids()[nth]

    def junit(self, name: str = "r.xml") -> Junit:
        return Junit.read(self.folder / name)

    def close(self) -> None:
        for command in self.commands:
            command.process.kill()
            command.process.wait()
        self.slurm.call("scancel", "--me", check=False)
        for pid in processes_of(self.folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@dataclass
class Job:
    """A job of a project and its current run."""

    project: Project
    command: Command
    job_id: str
    event_at: float | None = None

    def event(self) -> None:
        """What happens next should end the job; how long that takes is noted, and never judged."""
        self.event_at = time.monotonic()

    @property
    def rundir(self) -> RunDir:
        return self.run("0")

    def run(self, restart: str, case_id: str = CASE_ID) -> RunDir:
        return RunDir.of(self.project.work_dir, f"{self.job_id}.{restart}", case_id)

    def state(self, role: str) -> dict[str, Any]:
        """What ``role`` last published; empty before it did."""
        return read_json(self.rundir.role(role)) or {}

    def wait_until_measuring(self) -> None:
        def measuring() -> bool:
            said = self.state("BENCHMARK")
            progress = str(said.get("progress", ""))
            return said.get("stage") == "measure" and "in flight" in progress and "warm-up" not in progress

        self.command.wait_for(measuring, "BENCHMARK to measure")

    def kill(self, role: str) -> None:
        """``kill -9`` of the role's pytest."""
        self.event()
        os.kill(int(self.state(role)["pid"]), signal.SIGKILL)

    def rank_pid(self, role: str, rank: int) -> int:
        """The pid of a rank that runs no pytest."""
        said = read_json(self.rundir.path / "roles" / f"{role}.{rank}.json")
        assert said is not None
        return int(said["pid"])

    def end(self) -> int:
        code = self.command.end()
        if self.event_at is not None:
            self.project.note("seconds_from_event_to_verdict", round(time.monotonic() - self.event_at, 1))
        return code

    def result(self) -> dict[str, Any]:
        found = read_json(self.rundir.path / "job.json")
        assert found is not None, self.command.output
        return found

    def outcome(self) -> dict[str, Any]:
        found = read_json(self.rundir.outcome)
        assert found is not None, self.command.output
        return found

    def slurm(self, *argv: str) -> str:
        return self.project.slurm.call(*argv)

    def assert_nothing_left(self) -> None:
        """No process of the run on any node (all of them are this machine), no step, no temporary folder."""
        ends_at = time.monotonic() + LIMIT_S
        while left := [*processes_of(self.project.folder).items(), *temporary_folders(self.project.folder)]:
            assert time.monotonic() < ends_at, left
            time.sleep(0.05)

    def said(self) -> str:
        """Everything that may say why: for the message of a failing test."""
        logs = "\n".join(path.read_text() for path in self.project.work_dir.glob("jobs/*/slurm_*.log"))
        return f"{self.command.output}\n{logs}"


def temporary_folders(folder: Path) -> list[Path]:
    """What job scripts keep in /tmp while they run."""
    found = Path("/tmp").glob("disagg-job-*")
    return [path for path in found if folder.resolve() in (path / "run").resolve().parents]


def processes_of(folder: Path) -> dict[int, list[str]]:
    """Every process below a run directory of ``folder``, by its environment: pid to command line."""
    wanted = f"DISAGG_RUN_DIR={folder}".encode()
    found: dict[int, list[str]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(item.startswith(wanted) for item in (path / "environ").read_bytes().split(b"\0")):
                found[int(path.name)] = (path / "cmdline").read_text(errors="replace").split("\0")
    return found


def assert_red(job: Job, exit_code: int, kind: str, *words: str) -> Junit:
    """The command's exit code and the junit file say the same: this kind, this cause in the first line."""
    assert job.end() == exit_code, job.said()
    junit = job.project.junit()
    assert junit.headline.startswith(f"{kind}: "), junit.text
    for word in words:
        assert word in junit.headline, f"{junit.text}\n\n{job.said()}"
    assert junit.properties["disagg_kind"] == kind
    assert junit.properties["disagg_job_id"] == job.job_id
    return junit


def read_records(path: Path) -> list[dict[str, Any]]:
    import json

    return [cast("dict[str, Any]", json.loads(line)) for line in path.read_text().splitlines()]
