"""A tiny project, one real run of it at a time, and what the run left behind."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import psutil
import pytest
import yaml

from pytest_disagg.rundir.files import read_json
from pytest_disagg.rundir.layout import RunDir
from tests.waiting import LIMIT_S, until

DISAGG, AGGR = "disagg-e2e-fault", "aggr-alone"
ROLES = ("GEN_0", "CTX_0", "DISAGG_SERVER", "BENCHMARK")
SERVERS = ROLES[:3]
PROBE, WARM_UP = 1, 4
"""Requests that each server of the disaggregated case gets before the measurement (concurrency 4)."""

TIMEOUTS: dict[str, float] = {
    "launch_s": 20,
    "ready_s": 20,
    "probe_s": 10,
    "warmup_s": 10,
    "measure_s": 60,
    "stall_s": 10,
    "store_s": 10,
    "stop_s": 8,
    "grace_s": 1,
    "heartbeat_timeout_s": 10,
}
DISAGG_CASE: dict[str, Any] = {
    "engine": "sim",
    "cases": ["disagg-e2e"],
    "metadata": {"model_name": "sim-8b"},
    "slurm": {"timeout": 170},
    "benchmark": {
        "concurrency_list": "4",
        "multi_round": 3,
        "input_length": 32,
        "output_length": 8,
        "streaming": True,
    },
    "hardware": {"gpus_per_node": 8, "num_ctx_servers": 1, "num_gen_servers": 1, "share_nodes": True},
    "worker_config": {
        "gen": {"tensor_parallel_size": 1, "max_batch_size": 16, "stream_interval": 1},
        "ctx": {"tensor_parallel_size": 1, "max_batch_size": 16},
    },
    "sim": {"decode_step_ms": 20},
    "timeouts": TIMEOUTS,
    # A machine that is busy with other tests must not make a fast load invalid.
    "gate": {"min_concurrency_ratio": 0.1, "max_client_lag_ms": 5000.0, "max_client_cpu": 100.0},
}
AGGR_CASE: dict[str, Any] = {
    **{key: DISAGG_CASE[key] for key in ("engine", "metadata", "slurm", "sim", "timeouts", "gate")},
    "cases": ["aggr"],
    "hardware": {"gpus_per_node": 8},
    "server_configs": [
        {
            "name": name,
            "tensor_parallel_size": 1,
            "max_batch_size": 16,
            "stream_interval": 1,
            "client_configs": [{"name": f"{name}_con4", "concurrency": 4, "iterations": 3, "isl": 32, "osl": 8}],
        }
        for name in ("tp1",)
    ],
}
TEST = "def test_e2e(disagg_case):\n    disagg_case.run()\n"


def fault(role: str, kind: str, **fields: float) -> str:
    """``--disagg-set`` value that makes ``role`` play ``kind``."""
    return f"sim.faults=[{yaml.safe_dump({'role': role, 'kind': kind, **fields}, default_flow_style=True).strip()}]"


LONG_LOAD = "benchmark.multi_round=200"
LONG_AGGR = "server_configs.0.client_configs.0.iterations=200"


@dataclass(frozen=True)
class Junit:
    """The first test of a junit file: ``text`` is its failure's, empty where it is green."""

    text: str
    properties: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> Junit:
        case = next(ElementTree.parse(path).getroot().iter("testcase"))
        failure = case.find("failure")
        assert case.find("error") is None, ElementTree.tostring(case, encoding="unicode")
        assert case.find("skipped") is None, ElementTree.tostring(case, encoding="unicode")
        properties = {item.attrib["name"]: item.attrib["value"] for item in case.iter("property")}
        return cls("" if failure is None else failure.text or "", properties)

    @property
    def headline(self) -> str:
        return self.text.partition("\n")[0]

    @property
    def kind(self) -> str:
        return self.properties.get("disagg_kind", "")


@dataclass
class Run:
    """One run, started as a person starts it: ``python -m pytest`` (or ``disagg``) in a process of its own."""

    folder: Path
    case_id: str
    run_id: str = field(default_factory=lambda: f"run-{secrets.token_hex(4)}")
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def work_dir(self) -> Path:
        return self.folder / "runs"

    @property
    def rundir(self) -> RunDir:
        return RunDir.of(self.work_dir, self.run_id, self.case_id)

    def environment(self, role: str | None = None) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTEST_", "DISAGG_", "SLURM_", "COV_CORE_"))
        }
        mine = {"DISAGG_RUN_ID": self.run_id, "PYTHONUNBUFFERED": "1", "DISAGG_HTML": "none"}
        return {**kept, **mine, **({"DISAGG_SERVING_TYPE": role} if role else {})}

    def pytest_argv(self, *arguments: str, junit: str = "r.xml") -> list[str]:
        return [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist"),
            *(f"--junitxml={junit}", f"--disagg-work-dir={self.work_dir}", *arguments),
            f"test_it.py::test_e2e[{self.case_id}]",
        ]

    def start(self, argv: Sequence[str], role: str | None = None) -> subprocess.Popen[bytes]:
        """Start ``argv`` in the project, its output in ``<role or 'main'>.out``."""
        with (self.folder / f"{role or 'main'}.out").open("wb") as out:
            process = subprocess.Popen(
                argv,
                cwd=self.folder,
                env=self.environment(role),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def output(self, role: str | None = None) -> str:
        return (self.folder / f"{role or 'main'}.out").read_text(encoding="utf-8", errors="replace")

    def log(self, role: str) -> str:
        """The output of the role's server so far."""
        path = self.rundir.log(role)
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def state(self, role: str) -> dict[str, Any]:
        """What ``role`` last published; empty before it did."""
        return read_json(self.rundir.role(role)) or {}

    def outcome(self) -> dict[str, Any]:
        found = read_json(self.rundir.outcome)
        assert found is not None, f"{self.rundir.outcome} is missing\n{self.output()}"
        return found

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for ``condition`` while the run goes on; a run that ends before fails the test with its output."""

        def ended_or_true() -> bool:
            return condition() or any(process.poll() is not None for process in self.processes)

        until(ended_or_true, what)
        assert condition(), f"the run ended before {what}\n{self.output()}"

    def wait_until_measuring(self) -> None:
        """The load is under way: requests of the measurement have come back."""
        self.wait_for(
            lambda: (
                self.state("BENCHMARK").get("stage") == "measure"
                and "in flight" in self.state("BENCHMARK").get("progress", "")
                and "warm-up" not in self.state("BENCHMARK").get("progress", "")
            ),
            "BENCHMARK to measure",
        )

    def end(self, process: subprocess.Popen[bytes] | None = None) -> int:
        """Wait until the run has ended by itself; its exit status."""
        process = process or self.processes[0]
        try:
            return process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {LIMIT_S:g} s:\n{self.output()}")

    def alive(self) -> dict[int, list[str]]:
        """Every process of this run, by the run id in its environment: pid to command line."""
        wanted = f"DISAGG_RUN_ID={self.run_id}".encode()
        found: dict[int, list[str]] = {}
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if wanted in (path / "environ").read_bytes().split(b"\0"):
                    found[int(path.name)] = (path / "cmdline").read_text(errors="replace").split("\0")
        return found

    def engine_pid(self, kind: str) -> int:
        """The simulated server itself (``ctx``, ``gen``, ``server``), below its role and its guard."""
        (pid,) = (
            pid
            for pid, argv in self.alive().items()
            if argv[1:4] == ["-m", "pytest_disagg.engines.sim", "server"] and argv[argv.index("--kind") + 1] == kind
        )
        return pid

    def kill(self, role: str, number: int = signal.SIGKILL) -> None:
        os.kill(int(self.state(role)["pid"]), number)

    def kill_engine(self, kind: str, number: int = signal.SIGKILL) -> None:
        os.kill(self.engine_pid(kind), number)

    def junit(self) -> Junit:
        return Junit.read(self.folder / "r.xml")

    def role_junit(self, role: str) -> Junit:
        return Junit.read(self.rundir.junit(role))

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        for pid in self.alive():
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(pid).kill()


Start = Callable[..., Run]


@pytest.fixture
def prepare(tmp_path: Path) -> Iterator[Start]:
    """``prepare(case_id)``: a project with both cases; every process of its runs is gone after the test."""
    runs: list[Run] = []
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "fault.yaml").write_text(yaml.safe_dump(DISAGG_CASE, sort_keys=False))
    (tmp_path / "cases" / "alone.yaml").write_text(yaml.safe_dump(AGGR_CASE, sort_keys=False))
    (tmp_path / "pytest.ini").write_text("[pytest]\ndisagg_config_dir = cases\n")
    (tmp_path / "test_it.py").write_text(TEST)

    def new(case_id: str = DISAGG) -> Run:
        runs.append(Run(tmp_path, case_id))
        return runs[-1]

    yield new
    for run in runs:
        run.close()


@pytest.fixture
def start(prepare: Start) -> Start:
    """``start(*sets, case_id=..., args=...)``: a run of all roles on this machine, under way."""

    def begin(*sets: str, case_id: str = DISAGG, args: Sequence[str] = ()) -> Run:
        run = prepare(case_id)
        run.start(run.pytest_argv(*(f"--disagg-set={item}" for item in sets), *args))
        return run

    return begin


@pytest.fixture
def play(start: Start) -> Start:
    """``play(*sets, case_id=...)``: a run that has ended by itself and left no process."""

    def whole(*sets: str, case_id: str = DISAGG) -> Run:
        run = start(*sets, case_id=case_id)
        run.end()
        assert run.alive() == {}, run.output()
        return run

    return whole


def assert_red(run: Run, kind: str, role: str, *causes: str) -> Junit:
    """The run's own junit is red with this kind, role and cause in its first line."""
    junit = run.junit()
    assert junit.headline.startswith(f"{kind}: {role} failed in stage "), junit.text
    for cause in causes:
        assert cause in junit.headline, junit.text
    assert junit.kind == kind
    return junit


def assert_everybody_red(run: Run, kind: str, role: str, *causes: str, dead: Sequence[str] = ()) -> Junit:
    """So is the junit of every role that could still write one (all but the ``dead``), with the same first line."""
    junit = assert_red(run, kind, role, *causes)
    for each in ROLES:
        if each not in dead:
            assert run.role_junit(each).headline == junit.headline, each
    return junit


def assert_all_gone(run: Run) -> None:
    """Nothing is left, where whoever could have waited for it was killed: what cleans up needs a moment."""
    until(lambda: not run.alive(), "every process of the run to end")


def cause_of_outcome(run: Run) -> dict[str, Any]:
    return cast(dict[str, Any], run.outcome()["cause"])
