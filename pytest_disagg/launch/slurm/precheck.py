"""The precheck's own case in the run's junit file."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import SubElement

from pytest_disagg.launch.slurm.facts import JobFacts
from pytest_disagg.launch.slurm.junit import text_of
from pytest_disagg.launch.slurm.steps import PRECHECK
from pytest_disagg.redact import redact
from pytest_disagg.rundir.files import write_text
from pytest_disagg.rundir.state import Failure


def add_precheck(path: Path, facts: JobFacts, cause: Failure | None) -> None:
    """Add a suite with the case ``precheck`` to ``path``, where the job had one; ``cause`` is why the run failed."""
    codes = {step: code for step, code in facts.steps.items() if step.startswith(PRECHECK)}
    if not codes:
        return
    root = ElementTree.parse(path).getroot()
    failed = any(codes.values())
    took = f"{facts.precheck_s or 0.0:.3f}"
    counts = {"errors": "0", "failures": str(int(failed)), "skipped": "0", "tests": "1", "time": took}
    # The schema that Jenkins checks against wants these two of every suite.
    about = {name: suite.get(name, "") for suite in root.iter("testsuite") for name in ("timestamp", "hostname")}
    own = {"name": "precheck", **counts, **{name: value for name, value in about.items() if value}}
    case = SubElement(
        SubElement(root, "testsuite", own), "testcase", {"classname": "disagg", "name": "precheck", "time": took}
    )
    if failed and cause is not None:
        failure = SubElement(case, "failure", {"message": redact(cause.headline())})
        failure.text = redact("\n".join([cause.headline(), *(f"    {line}" for line in cause.evidence)]))
    write_text(path, text_of(root))
