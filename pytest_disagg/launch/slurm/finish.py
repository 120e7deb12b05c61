"""The last act of a job script: ``python -m pytest_disagg.launch.slurm.finish JOB_DIR RUN_DIR``.

Writes ``outcome.json`` where BENCHMARK could not, ``junit.xml`` and ``job.json``; prints how the run ended; exits with
the code of ``disagg run``. It has only seconds when Slurm is ending the job, so it asks Slurm only where it must.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pytest_disagg.launch.slurm import client
from pytest_disagg.launch.slurm.codes import exit_code
from pytest_disagg.launch.slurm.conclude import Ending, conclude
from pytest_disagg.launch.slurm.explain import Evidence, explain
from pytest_disagg.launch.slurm.facts import JobFacts, read_facts
from pytest_disagg.launch.slurm.jobdir import JobDir
from pytest_disagg.launch.slurm.submission import Submission
from pytest_disagg.redact import redact
from pytest_disagg.rundir.files import tail_lines
from pytest_disagg.rundir.layout import RunDir

LOG_LINES = 50


def main(job_dir: str, run_dir: str) -> int:
    """See the module; returns the exit code."""
    folder, rundir = JobDir(Path(job_dir)), RunDir(Path(run_dir))
    facts = read_facts(rundir.path) or JobFacts()
    evidence = _evidence(folder, facts)
    result = conclude(
        Ending(
            submission=Submission.read(folder),
            rundir=rundir,
            job_id=facts.job_id,
            facts=facts,
            explanation=explain(evidence),
            bad_nodes=tuple(evidence.bad_nodes),
        )
    )
    for line in result.red or (f"{result.case}: {result.verdict}",):
        print(redact(line))
    return exit_code(result)


def _evidence(folder: JobDir, facts: JobFacts) -> Evidence:
    if facts.signaled is None:
        return Evidence(facts.job_id)
    fields: dict[str, str] = {}
    bad_nodes: dict[str, str] = {}
    try:
        fields = client.show_job(facts.job_id)
        bad_nodes = client.node_states(facts.nodes)
    except client.SlurmError as error:
        print(f"cannot ask Slurm why it ended the job: {error}", file=sys.stderr)
    return Evidence(
        job_id=facts.job_id,
        fields=fields,
        bad_nodes=bad_nodes,
        log_tail="\n".join(tail_lines(folder.log(facts.job_id), LOG_LINES)),
        restart=facts.restart,
        signaled_at=facts.signaled,
        ends_at=facts.ends,
        signal_s=facts.signal_s,
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
