"""`disagg submit`: its script, handed to a real cluster with the programs that it exports."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from tests.slurm.jobs import CASE_ID, ROLES, Command, Project
from tests.waiting import until

# What a pipeline writes: strict mode, its own traps, exports, and text whose layout matters.
PREFIX = """\
#!/bin/bash
#SBATCH --nodes=4 --ntasks=8 --ntasks-per-node=2
#SBATCH --time=5 --no-requeue --output={workspace}/slurm_%j.log
set -xEeuo pipefail
trap 'rc=$?; echo "error on line $LINENO"; exit $rc' ERR
trap 'cat <<EOF
    at the end: $stageName
EOF' EXIT
export jobWorkspace="{workspace}"
export stageName="Lab-4_Nodes-Disagg-PerfSanity"
export perfMode=false
export DISAGG_STEP_CWD="{folder}" DISAGG_INSTALL_COMMAND='true' DISAGG_STOP_S=5 DISAGG_STOP_GRACE_S=3
export DISAGG_CLAIM_DIR={workspace}/claims
export DISAGG_RANKS=leader DISAGG_RUN_ID="$SLURM_JOB_ID.0"
export DISAGG_RUN_DIR="{work_dir}/$DISAGG_RUN_ID/{case_id}"
export pytestCommand="COLUMNS=100 {python} -m pytest -vv -p no:cacheprovider --disagg-config-dir=cases \
--disagg-work-dir={work_dir} --disagg-interface=127.0.0.1 --junitxml=$jobWorkspace/results.xml \
test_it.py::test_e2e[{case_id}]"
"""

# A launch draft as pipelines have them: the older names, one command for both kinds of worker, a benchmark to wait for.
THEIR_DRAFT = """\
give_up() { echo "giving up: $1"; scancel "$SLURM_JOB_ID"; exit 1; }
mkdir -p "$jobWorkspace"
srun "${srunArgs[@]}" "$installScript" &>"$jobWorkspace/install.log" || give_up install
worker() {
    export DISAGG_SERVING_TYPE=$1 pytestCommand="$pytestCommandWorker"
    srun "${srunArgs[@]}" --kill-on-bad-exit=1 -N "$2" --ntasks=$(($2 * $3)) --ntasks-per-node="$3" "$runScript" \\
        &>"$jobWorkspace/$1.log" &
}
for i in $(seq 0 $((numGenServers - 1))); do worker "GEN_$i" "$nodesPerGenServer" "$gpusPerfNodePerfGenServer"; done
for i in $(seq 0 $((numCtxServers - 1))); do worker "CTX_$i" "$nodesPerCtxServer" "$gpusPerfNodePerfCtxServer"; done
export DISAGG_SERVING_TYPE=DISAGG_SERVER pytestCommand="$pytestCommandDisaggServer"
srun "${srunArgs[@]}" --overlap -N 1 --ntasks=1 --ntasks-per-node=1 "$runScript" &>"$jobWorkspace/disagg_server.log" &
export DISAGG_SERVING_TYPE=BENCHMARK pytestCommand="$pytestCommandBenchmark"
srun "${srunArgs[@]}" --overlap -N 1 --ntasks=1 --ntasks-per-node=1 "$runScript" || give_up benchmark
wait
"""

# Instead of slurm_run: says where its task is, then does what the test wants of it.
TASK = """\
#!/usr/bin/env bash
echo "$SLURM_PROCID $SLURMD_NODENAME $SLURM_NTASKS" >>"$jobWorkspace/${DISAGG_SERVING_TYPE:-alone}.tasks"
[ "${DISAGG_SERVING_TYPE:-alone}" != "${FAILS:-}" ] || { echo "HF_TOKEN=hunter2hunter2"; exit 7; }
[ -z "${FAILS:-}" ] || sleep 1000
"""


@dataclass
class Launch:
    """A project's launch script and what is beside it."""

    project: Project

    @classmethod
    def make(cls, project: Project, prefix_end: str = "", case_id: str = CASE_ID) -> Launch:
        folder, launch = project.folder, cls(project)
        (launch.workspace / "claims").mkdir(parents=True)
        (folder / "test_it.py").write_text("def test_e2e(disagg_case):\n    disagg_case.run()\n")
        text = PREFIX.format(
            workspace=launch.workspace,
            folder=folder,
            work_dir=project.work_dir,
            python=sys.executable,
            case_id=case_id,
        )
        (folder / "prefix.sh").write_text(text + prefix_end)
        (folder / "srun.args").write_text("--mpi=none --comment='two words'\n")
        (folder / "list.txt").write_text(f"# of a stage\ntest_it.py::test_e2e[{case_id}] TIMEOUT (5)\n")
        exported = project.disagg("submit", "--export-wrapper", "bin")
        assert exported.end() == 0, exported.output
        assert exported.output.split() == [str(Path("bin", name)) for name in ("slurm_run", "slurm_install")]
        return launch

    @property
    def workspace(self) -> Path:
        return self.project.folder / "ws"

    def submit(self, *more: str, run_sh: str = "bin/slurm_run") -> Command:
        """Write the script."""
        folder = self.project.folder
        return self.project.disagg(
            *("submit", "--run-ci", "--config-dir=cases", "--test-list=list.txt", "--launch-sh=launch.sh"),
            *(f"--run-sh={folder / run_sh}", f"--install-sh={folder / 'bin/slurm_install'}"),
            *("--script-prefix=prefix.sh", "--srun-args=srun.args", *more),
        )

    def run(self) -> tuple[int, str]:
        """Submit the script, wait for the end of the job; its exit code and its log."""
        said = self.project.slurm.call("sbatch", "--parsable", str(self.project.folder / "launch.sh"))
        job_id = said.strip()
        code = exit_code_of(self.project, job_id)
        return code, (self.workspace / f"slurm_{job_id}.log").read_text()

    def tasks(self, role: str) -> list[tuple[int, str]]:
        """Rank and node of every task of the role."""
        lines = (self.workspace / f"{role}.tasks").read_text().splitlines()
        assert {line.split()[2] for line in lines} == {str(len(lines))}
        return sorted((int(line.split()[0]), line.split()[1]) for line in lines)

    def fake_task(self) -> str:
        path = self.project.folder / "task"
        path.write_text(TASK)
        path.chmod(0o755)
        return path.name


def exit_code_of(project: Project, job_id: str) -> int:
    """Wait for the end of the job; its exit code."""

    def state() -> str:
        return project.slurm.call("scontrol", "show", "job", job_id)

    until(lambda: bool(re.search(r"JobState=(COMPLETED|FAILED|CANCELLED|TIMEOUT)", state())), "the job")
    code = re.search(r"ExitCode=(\d+):", state())
    assert code is not None
    return int(code[1])


def passed(path: Path) -> bool:
    """Whether the junit file has one test, and it passed."""
    (case,) = ElementTree.parse(path).getroot().iter("testcase")
    return not list(case.iter("failure")) and not list(case.iter("error")) and not list(case.iter("skipped"))


@pytest.mark.parametrize("draft", ["ours", "theirs"])
def test_a_case_from_the_inputs_of_a_pipeline(project: Project, draft: str) -> None:
    launch = Launch.make(project)
    more: tuple[str, ...] = ()
    if draft == "theirs":
        (project.folder / "draft.sh").write_text(THEIR_DRAFT)
        more = ("--draft-launch-sh=draft.sh",)
    submitted = launch.submit(*more)
    assert submitted.end() == 0, submitted.output
    code, log = launch.run()
    assert code == 0, log
    assert "    at the end: Lab-4_Nodes-Disagg-PerfSanity\n" in log, log
    assert passed(launch.workspace / "results.xml")
    assert (launch.workspace / "install.log").stat().st_size > 0
    if draft == "ours":
        assert log.count("ended: exit code 0") == 1 + len(ROLES), log
        output = launch.workspace / CASE_ID
        assert (output / "gen_server_0.done").read_text() == "0\n"
        for name in ("gen_server_0", "ctx_server_0", "ctx_server_1", "disagg_server", "benchmark"):
            assert "Final Slurm run finished execution with exit code 0" in (output / f"{name}.log").read_text()
        assert "1 passed" in log


def test_where_the_tasks_of_an_uneven_server_are(project: Project) -> None:
    project.case(
        "job",
        hardware={"gpus_per_node": 2, "num_ctx_servers": 1, "num_gen_servers": 1},
        worker_config={"gen": {"tensor_parallel_size": 3}, "ctx": {"tensor_parallel_size": 2}},
    )
    launch = Launch.make(project)
    submitted = launch.submit(run_sh=launch.fake_task())
    assert submitted.end() == 0, submitted.output
    code, log = launch.run()
    assert code == 0, log
    assert launch.tasks("GEN_0") == [(0, "n1"), (1, "n1"), (2, "n2")]
    assert launch.tasks("CTX_0") == [(0, "n3"), (1, "n3")]
    assert launch.tasks("DISAGG_SERVER") == launch.tasks("BENCHMARK") == [(0, "n1")]


def test_where_the_tasks_of_an_aggregated_case_are(project: Project) -> None:
    server = {"name": "tp3", "tensor_parallel_size": 3, "client_configs": [{"concurrency": 1}]}
    document = {"metadata": {"model_name": "m"}, "hardware": {"gpus_per_node": 2}, "server_configs": [server]}
    (project.folder / "cases/alone.yaml").write_text(yaml.safe_dump(document))
    launch = Launch.make(project, case_id="aggr-alone-tp3")
    submitted = launch.submit(run_sh=launch.fake_task())
    assert submitted.end() == 0, submitted.output
    code, log = launch.run()
    assert code == 0, log
    assert launch.tasks("alone") == [(0, "n1"), (1, "n1"), (2, "n2")]


def test_all_end_when_one_fails(project: Project) -> None:
    launch = Launch.make(project, "export FAILS=CTX_1 DISAGG_STOP_S=1\n")
    submitted = launch.submit(run_sh=launch.fake_task())
    assert submitted.end() == 0, submitted.output
    code, log = launch.run()
    assert code == 7, log
    assert "failed in stage run: CTX_1, exit code 7" in log
    # What srun itself says may come before the task's last words.
    shown = log.partition("===== CTX_1: last 100 lines of ")[2].partition("=====")[0].splitlines()
    assert shown[0].endswith("/ctx_server_1.log")
    assert "HF_TOKEN=***" in shown
    assert "hunter2" not in log
    assert project.slurm.call("squeue", "--steps", "--noheader") == ""


def test_our_own_form_is_what_run_submits(project: Project) -> None:
    written = project.disagg("submit", "cases/job.yaml", "--config-dir=cases", "--launch-sh=launch.sh")
    assert written.end() == 0, written.output
    name, command = written.output.splitlines()
    assert name == f"{CASE_ID}: {project.folder / 'launch.sh'}"
    assert command.startswith("sbatch --chdir=")
    assert project.slurm.call("squeue", "--noheader") == ""
    submitted = project.start("bash", "-c", command)
    assert submitted.end() == 0, submitted.output
    assert exit_code_of(project, submitted.output.split()[-1]) == 0
