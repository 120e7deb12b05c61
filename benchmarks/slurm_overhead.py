"""What `disagg run` adds to a Slurm job, stage by stage, beside the fixed waits of the scripts that it replaces.

    python benchmarks/slurm_overhead.py             # 5 jobs of each kind, one GPU a node
    python benchmarks/slurm_overhead.py --gpus 4    # every server with all GPUs of its nodes: 14 tasks

Starts the cluster of tests/slurm (as root, with the packages of tests/apt.sh) and runs a simulated case with two CTX
servers and one GEN server over two nodes: four nodes, five roles. Times are taken from what the run leaves behind, so
measuring adds nothing. The load itself, from the first probe to the last measured token, and Slurm's own scheduling are
shown but not ours.

All nodes are this one machine, so five roles start on the cores that one would have. Therefore an aggregated case is
run too, whose one role plays alone: that is how long the path of a role is where it has its node to itself.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pytest_disagg.launch.slurm.jobdir import JobDir
from pytest_disagg.launch.slurm.submission import Submission
from pytest_disagg.rundir.files import read_json
from pytest_disagg.rundir.layout import RunDir
from tests.slurm.jobs import CASE, WHOLE_NODES, Project
from tests.slurm.lab import PROGRAMS, SlurmCluster, missing

AIM_S = 3.0
LIMIT_S = 300.0
LOAD_OF_ONE = {"name": "con4", "concurrency": 4, "iterations": 3, "isl": 32, "osl": 8}
ONE_SERVER = {"name": "tp1", "tensor_parallel_size": 1, "max_batch_size": 16, "stream_interval": 1}
ALONE: dict[str, Any] = {
    **{key: value for key, value in CASE.items() if key not in ("benchmark", "worker_config")},
    "cases": ["aggr"],
    "hardware": {"gpus_per_node": 4},
    "server_configs": [{**ONE_SERVER, "client_configs": [LOAD_OF_ONE]}],
}
"""The one server of an aggregated case: one node, one task, one process that plays every part."""
OURS, SLURM, LOAD = "ours", "Slurm's", "load"


@dataclass(frozen=True)
class Stage:
    """From one moment of a job to the next. ``whose`` says whether its time is ours."""

    name: str
    until: str
    whose: str = OURS


STAGES = (
    Stage("plan, script, sbatch", "submitted"),
    Stage("Slurm starts the job", "script", SLURM),
    Stage("job script until every srun runs", "steps"),
    Stage("srun until every role plays", "playing"),
    Stage("roles until requests can be routed", "routable"),
    Stage("probe, warm-up, measurement", "measured", LOAD),
    Stage("gate, judge, store, outcome", "outcome"),
    Stage("outcome until every step has ended", "stopped"),
    Stage("junit and result of the job", "written"),
    Stage("end of the job until disagg run returns", "returned"),
)


@dataclass(frozen=True)
class Wait:
    """Seconds that the replaced scripts sleep at least and at most in the stage that ends with ``until``."""

    until: str
    least_s: float
    most_s: float
    why: str


def waits_of(tasks: Sequence[int]) -> tuple[Wait, ...]:
    """The fixed waits of TensorRT-LLM's launch, run and tracking scripts on the way to the end of a good run.

    ``tasks`` are the tasks of each server in the order of their start. Only what delays the run is counted: pauses that
    overlap others, or that nobody waits for, are not; nor is what an installation, or reading a model, takes.
    """
    pause, coverage, look = 5.0, 30.0, 10.0
    held_back = pause * (len(tasks) - 1)
    begun = [pause * position + (coverage if count > 1 else 0.0) for position, count in enumerate(tasks)]
    first_look = pause * (len(tasks) + 1) + look
    ready = max(begun)
    barrier = look if max(tasks) > 1 else 0.0
    found = max(first_look, ready)
    return (
        Wait("steps", held_back, held_back, "5 s after the start of each server (a race in container start)"),
        Wait(
            "playing",
            ready - held_back,
            ready - held_back + barrier,
            "ranks other than 0 sleep 30 s (coverage file); then all look for each other every 10 s",
        ),
        Wait("routable", found - ready, found - ready + look, "the coordinator looks for addresses every 10 s"),
        Wait("returned", 10.0, 310.0, "the tracker asks Slurm every 300 s, then sleeps 10 s"),
        Wait("removed", 60.0, 60.0, "cleanup sleeps 30 s before and 30 s after scancel"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="measured jobs (default: %(default)s)")
    parser.add_argument("--gpus", type=int, choices=(1, 4), default=1, help="GPUs a node (default: %(default)s)")
    options = parser.parse_args()
    if absent := missing(PROGRAMS):
        parser.error(f"no Slurm here ({', '.join(absent)} missing): bash tests/apt.sh installs it")
    if os.geteuid() != 0:
        parser.error("slurmd of several nodes needs root")
    folder = Path(tempfile.mkdtemp(prefix="disagg-overhead-"))
    folder.chmod(0o755)
    cluster = SlurmCluster(folder, "lab")
    try:
        cluster.start()
        (folder / "project").mkdir()
        project = Project.make(folder / "project", cluster)
        tasks: tuple[int, ...] = (2, 1, 1)
        if options.gpus == 4:
            project.case("job", **WHOLE_NODES)
            tasks = (8, 2, 2)
        (folder / "project" / "cases" / "alone.yaml").write_text(yaml.safe_dump(ALONE))
        runs: dict[str, list[dict[str, float]]] = {}
        for case in ("job", "alone"):
            run_once(project, case)  # fills caches
            runs[case] = [run_once(project, case) for _ in range(options.runs)]
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{options.runs} jobs of each kind, {os.cpu_count()} CPUs for all nodes; aim: under {AIM_S:g} s of ours\n")
    print(f"two CTX servers and a GEN server over two nodes: 5 roles, {sum(tasks) + 2} tasks\n")
    print(table(runs["job"], waits_of(tasks)))
    print("\none role that plays alone\n")
    print(table(runs["alone"], ()))


def run_once(project: Project, case: str) -> dict[str, float]:
    """Seconds spent in each stage of one job, by the moment that ends it.

    Raises:
        SystemExit: the case did not pass: the times of something else than what was meant are no result.
    """
    argv = (sys.executable, "-m", "pytest_disagg.cli.main", "run", f"cases/{case}.yaml", "--config-dir=cases")
    # As in an activated virtual environment: elsewhere `python3` may be a program that first looks for one.
    environ = {**project.env, "PATH": f"{Path(sys.executable).parent}:{project.env['PATH']}"}
    # As after an installation, which leaves bytecode: without it every process compiles the package.
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    moments = {"called": time.time()}
    lines: list[str] = []
    with subprocess.Popen(
        argv, cwd=project.folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "submitted" not in moments and re.search(r": job \d+, ", line):
                moments["submitted"] = time.time()
            lines.append(line)
        code = process.wait(LIMIT_S)
    moments["returned"] = time.time()
    found = re.search(r": job \d+, (\S+)", "".join(lines))
    if code != 0 or found is None:
        raise SystemExit(f"disagg run ended with exit code {code}:\n{''.join(lines)}")
    moments.update(moments_of(JobDir(Path(found[1]))))
    ends = [moments["called"], *(moments[stage.until] for stage in STAGES)]
    return {stage.until: end - begin for stage, begin, end in zip(STAGES, ends, ends[1:], strict=False)}


def moments_of(folder: JobDir) -> dict[str, float]:
    """When what happened in a job that is over, by what it left behind: epoch seconds."""
    submission = Submission.read(folder)
    run = submission.rundir(folder.run_id() or "")
    timelines = {role: _timeline(run, role) for role in submission.roles}
    benchmark = {name: (begin, end) for name, begin, end in timelines["BENCHMARK"]}
    return {
        "script": _written(folder.run_id_file),
        "steps": max(_written(run.logs / f"{role}.srun.log") for role in submission.roles),
        "playing": max(timeline[0][1] for timeline in timelines.values()),
        "routable": benchmark["ready"][1],
        "measured": benchmark["gate"][0],
        "outcome": _written(run.outcome),
        "stopped": _written(run.path / "job.facts"),
        "written": _written(run.path / "job.json"),
    }


def _timeline(run: RunDir, role: str) -> list[tuple[str, float, float]]:
    state: Mapping[str, Any] = read_json(run.role(role)) or {}
    return [(str(name), float(begin), float(end)) for name, begin, end in state["timeline"] if end is not None]


def _written(path: Path) -> float:
    return path.stat().st_mtime


def table(runs: Sequence[Mapping[str, float]], waits: Sequence[Wait]) -> str:
    """Every stage with its median, least and most seconds; with ``waits``, what the replaced scripts wait there."""
    by_stage = {wait.until: wait for wait in waits}

    def line(name: str, seconds: str, waited: str) -> str:
        return f"{name:<42}{seconds:<24}{waited if waits else ''}".rstrip()

    lines = [line("stage", f"{'median':>8}{'min - max':>16}", "   fixed waits of the replaced scripts")]
    for stage in STAGES:
        name = stage.name if stage.whose == OURS else f"({stage.name}: {stage.whose})"
        lines.append(line(name, _spread([run[stage.until] for run in runs]), _waited(by_stage.get(stage.until))))
    if waits:
        lines.append(line("removing what the job left behind", f"{'-':>8}", _waited(by_stage["removed"])))
    ours = [sum(run[stage.until] for stage in STAGES if stage.whose == OURS) for run in runs]
    least, most = sum(wait.least_s for wait in waits), sum(wait.most_s for wait in waits)
    return "\n".join((*lines, line("ours, in all", _spread(ours), f"   {_span(least, most)}")))


def _spread(seconds: Sequence[float]) -> str:
    between = f"{min(seconds):.2f} - {max(seconds):.2f}"
    return f"{median(seconds):>6.2f} s{between:>14} s"


def _span(least_s: float, most_s: float) -> str:
    return f"{least_s:g} s" if least_s == most_s else f"{least_s:g} - {most_s:g} s"


def _waited(wait: Wait | None) -> str:
    return "   none" if wait is None else f"   {_span(wait.least_s, wait.most_s)}: {wait.why}"


if __name__ == "__main__":
    main()
