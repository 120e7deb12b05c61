"""`disagg run` on a real cluster: a two-node GEN server and two CTX servers, end to end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import xmlschema

from pytest_disagg.records.gpu_hours import GpuHours
from pytest_disagg.report.facts import job_facts
from tests.slurm.jobs import CASE_ID, ROLES, WHOLE_NODES, Job, Project, read_records

XSD = Path(__file__).resolve().parents[1] / "data" / "junit.xsd"


def test_a_case_on_four_nodes(project: Project) -> None:
    project.case("job", **WHOLE_NODES)
    command = project.run("--html=page.html")
    job = Job(project, command, project.job_id(command))
    assert command.end() == 0, job.said()

    rundir = job.rundir
    assert job.outcome()["verdict"] == "insufficient-history"
    assert job.result()["steps"] == dict.fromkeys(("check", *ROLES), 0)
    assert {record["s_case_id"] for record in read_records(rundir.records)} == {CASE_ID}
    for role in ROLES:
        assert rundir.pytest_log(role).stat().st_size > 0
        assert rundir.junit(role).exists()
    for name in ("gen_server_0.log", "ctx_server_0.log", "ctx_server_1.log", "disagg_server.log"):
        assert (rundir.path / name).is_file()
    assert (rundir.path / f"slurm_{job.job_id}.log").read_text().count("ended: exit code 0") == len(ROLES) + 1
    junit = project.junit()
    assert junit.text == ""
    assert any("ttft" in name for name in junit.properties)
    assert junit.properties["disagg_nodes"] == "n[1-4]"
    page = (project.folder / "page.html").read_text()
    assert CASE_ID in page
    assert f"{job.job_id}.0" in page
    # The BENCHMARK step kept what it measured for the verdicts of later nights.
    (kept,) = (project.folder / "history" / "records").glob("*.jsonl")
    assert {record["s_slurm_job_id"] for record in read_records(kept)} == {job.job_id}
    xmlschema.XMLSchema(str(XSD)).validate(str(project.folder / "r.xml"))
    # Four nodes of four GPUs for as long as the job was there; the servers have 12 of these.
    hours, facts = job.result()["gpu_hours"], job_facts(rundir)
    assert hours["allocated"] == pytest.approx(4 * 4 * (float(facts["ended"]) - float(facts["started"])) / 3600)
    measured_s = sum(record["d_duration_s"] for record in read_records(rundir.records))
    assert hours["useful"] == pytest.approx(12 * measured_s / 3600)
    assert f"GPU-hours: {GpuHours.read(hours)}" in command.output
    assert all(0 < record["d_gpu_hours_allocated"] <= hours["allocated"] for record in read_records(kept))
    job.assert_nothing_left()


def test_pytest_by_hand_inside_srun(project: Project) -> None:
    """An aggregated case needs no role: one task, started by a person."""
    (project.folder / "test_it.py").write_text("def test_e2e(disagg_case):\n    disagg_case.run()\n")
    (project.folder / "pytest.ini").write_text("[pytest]\ndisagg_config_dir = cases\n")
    project.case(
        "alone",
        cases=["aggr"],
        hardware={"gpus_per_node": 4},
        server_configs=[
            {
                "name": "tp1",
                "tensor_parallel_size": 1,
                "max_batch_size": 16,
                "stream_interval": 1,
                "client_configs": [{"name": "con4", "concurrency": 4, "iterations": 3, "isl": 32, "osl": 8}],
            }
        ],
        worker_config=None,
        benchmark=None,
    )
    path = project.folder / "cases" / "alone.yaml"
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.endswith(": null")))
    command = project.start(
        *("srun", "-N1", "-n1", sys.executable, "-m", "pytest", "-p", "no:cacheprovider"),
        *("-k", "alone", "--junitxml=r.xml", f"--disagg-work-dir={project.work_dir}"),
    )
    assert command.end() == 0, command.output
    assert "1 passed" in command.output
    assert project.junit().text == ""
