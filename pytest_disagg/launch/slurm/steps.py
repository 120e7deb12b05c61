"""What steps say of their own ending: srun's messages, and the logs of those that come before the roles."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_disagg.launch.slurm import checks
from pytest_disagg.launch.slurm.facts import JobFacts
from pytest_disagg.rundir.files import tail_lines
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.rundir.state import Failure

CHECK = "check"
PRECHECK = "precheck."
"""``precheck.GEN_0`` is the case's own check on the nodes of GEN_0."""
BEFORE = ("image", "install", CHECK)
EVIDENCE_LINES = 20
LOG_LINES = 1000
"""The check writes a few lines for each node."""
LABELLED_LINES, LABELLED_BYTES = 100_000, 1 << 23
"""Each rank of a precheck prints its environment: some 10 KiB."""
LABEL = re.compile(r" *(\d+): ")
"""What ``srun --label`` puts before each line: the number of the task that printed it."""
STOPPED = (143, 137)
"""The exit codes of a step that was stopped, because another one had failed or because its time was over."""
_STOPPED_TASK = re.compile(r": (Exited with exit code 143|Terminated)$")


def srun_said(rundir: RunDir, step: str) -> list[str]:
    """What srun complained about."""
    return [line for line in tail_lines(rundir.logs / f"{step}.srun.log") if "error:" in line]


def first_srun_error(rundir: RunDir, step: str) -> str:
    """``: n3: task 2: Exited with exit code 5``, as srun says it of the first task that failed.

    One that was stopped because of it may be heard of before.
    """
    said = [line.partition("srun: error: ")[2].strip() for line in srun_said(rundir, step)]
    tasks = [each for each in said if ": task" in each]
    first = next((each for each in tasks if not _STOPPED_TASK.search(each)), tasks[0] if tasks else "")
    return f": {first}" if first else ""


def failure_before(rundir: RunDir, facts: JobFacts) -> Failure | None:
    """Why the roles were not started; None where the steps before them ended well."""
    failed = [step for step, code in facts.steps.items() if code != 0 and (step in BEFORE or step.startswith(PRECHECK))]
    if not failed:
        return None
    step = next((step for step in failed if facts.steps[step] not in STOPPED), failed[0])
    if step == CHECK and (bad := bad_checks(rundir)):
        return Failure(step, "infrastructure", "launch", str(bad[0]), evidence=tuple(map(str, bad[:EVIDENCE_LINES])))
    if facts.expired is not None:
        text = f"still running after {facts.expired:g} s, its limit"
    elif step.startswith(PRECHECK):
        text = f"the precheck of {step[len(PRECHECK) :]} failed{first_srun_error(rundir, step)}"
    else:
        text = f"the {step} step failed{first_srun_error(rundir, step)}"
    evidence = (*srun_said(rundir, step), *last_words(rundir, step))
    return Failure(step, "infrastructure", "launch", text, evidence=evidence)


def last_words(rundir: RunDir, step: str) -> list[str]:
    """The end of a step's log: of the task that failed first where its lines say whose they are, else of all tasks.

    The others are stopped when it fails, and what they print until then would push its own words out of sight.
    """
    lines = tail_lines(log_of(rundir, step), LABELLED_LINES, max_bytes=LABELLED_BYTES)
    failed = re.match(r".*?: tasks? (\d+)", first_srun_error(rundir, step))
    own = [line for line in lines if (label := LABEL.match(line)) and failed and int(label[1]) == int(failed[1])]
    return (own or lines)[-EVIDENCE_LINES:]


def bad_checks(rundir: RunDir) -> list[checks.Said]:
    """The checks of nodes that are not as they have to be."""
    return [said for said in checks.read(tail_lines(log_of(rundir, CHECK), LOG_LINES)) if not said.ok]


def log_of(rundir: RunDir, step: str) -> Path:
    """What the tasks of a step before the roles printed."""
    return (rundir.logs if step.startswith(PRECHECK) else rundir.path) / f"{step}.log"
