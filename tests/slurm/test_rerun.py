"""`disagg rerun` of a job: the same job again, from its id, without case file, cluster file and run directory."""

from __future__ import annotations

import json
import shutil

from tests.slurm.jobs import CASE_ID, ONE_NODE, Job, Project, read_records


def test_a_job_again_by_its_id(project: Project) -> None:
    case = project.case("job", **ONE_NODE)
    project.cluster(sbatch=["--comment=as it was"])
    command = project.run("--retries=1", "--set=benchmark.multi_round=2")
    first = Job(project, command, project.job_id(command))
    assert command.end() == 0, first.said()

    case.unlink()
    project.cluster(sbatch=["--comment=changed"])
    shutil.rmtree(first.rundir.path.parent)
    again = project.disagg("rerun", first.job_id, f"--work-dir={project.work_dir}", "--junitxml=again.xml")
    job = Job(project, again, project.job_id(again))
    assert again.end() == 0, job.said()
    assert "cluster.yaml says other values now of sbatch" in again.output
    assert "the roles ran in image" not in again.output

    manifest = json.loads(job.rundir.manifest.read_text())
    assert manifest["rerun_of"] == f"{first.job_id}.0"
    assert manifest["rerun"]["launch"]["retries"] == 1
    assert manifest["rerun"]["launch"]["cluster"]["sbatch"] == ["--comment=as it was"]
    assert "Comment=as it was" in job.slurm("scontrol", "show", "job", job.job_id)
    kept = project.folder / "history" / "records"
    (before,), (after,) = (read_records(kept / f"{each.job_id}.0.{CASE_ID}.jsonl") for each in (first, job))
    assert after["s_rerun_of"] == before["s_run_id"]
    for name in ("s_config_digest", "s_cluster", "l_iterations", "l_concurrency", "s_case_id"):
        assert after[name] == before[name], name
    assert project.junit("again.xml").properties["disagg_job_id"] == job.job_id

    # Of the new run just as well, and on this machine without any cluster.
    here = project.disagg("rerun", f"{job.job_id}.0::{CASE_ID}", f"--work-dir={project.work_dir}", "--local")
    assert here.end() == 0, here.output
    (local,) = (record for path in kept.glob("????????-??????-*") for record in read_records(path))
    assert (local["s_rerun_of"], local["s_config_digest"]) == (after["s_run_id"], after["s_config_digest"])
    assert "s_slurm_job_id" not in local
