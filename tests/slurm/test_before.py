"""What comes before the first server: the check of every node, and the case's own precheck on the servers' slices."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import xmlschema

from tests.slurm.jobs import ROLES, Job, Project

XSD = Path(__file__).resolve().parents[1] / "data" / "junit.xsd"
RANKS = {("GEN_0", "0", "n1"), ("GEN_0", "1", "n2"), ("CTX_0", "0", "n3"), ("CTX_1", "0", "n4")}


def program(project: Project, name: str, text: str) -> str:
    path = project.folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def played(project: Project, exit_code: int) -> Job:
    command = project.run()
    job = Job(project, command, project.job_id(command))
    assert command.end() == exit_code, job.said()
    return job


def cases(project: Project) -> dict[str, str]:
    """Each case of the junit file and its failure's text, empty where it is green."""
    xmlschema.XMLSchema(str(XSD)).validate(str(project.folder / "r.xml"))
    found = ElementTree.parse(project.folder / "r.xml").getroot().iter("testcase")
    return {case.attrib["name"].partition("[")[0]: case.findtext("failure") or "" for case in found}


def assert_no_role_started(job: Job) -> None:
    assert not any(job.rundir.pytest_log(role).exists() for role in ROLES)
    job.assert_nothing_left()


def test_a_precheck_runs_on_every_rank_in_the_servers_environment(project: Project) -> None:
    says = 'echo "$DISAGG_SERVING_TYPE $SLURM_PROCID $SLURMD_NODENAME" >>"$1"'
    said = program(project, "check.sh", says + """; [ "$MINE" = "a b" ] && [ "$2" = '$HOME' ]""")
    seen = project.folder / "seen"
    project.cluster(environment={"worker": {"set": {"MINE": "a b"}}})
    project.case("job", precheck={"command": [said, str(seen), "$HOME"]})
    job = played(project, 0)
    assert {tuple(line.split()) for line in seen.read_text().splitlines()} == RANKS
    assert cases(project) == {"test_e2e": "", "precheck": ""}
    assert set(job.result()["steps"]) == {"check", "precheck.GEN_0", "precheck.CTX_0", "precheck.CTX_1", *ROLES}
    job.assert_nothing_left()


def test_a_precheck_that_fails_on_one_rank_stops_the_others_at_once(project: Project) -> None:
    text = 'echo "link 3 of $SLURMD_NODENAME is down"\n[ "$SLURMD_NODENAME" = n2 ] || exec sleep 600\nexit 5'
    project.case("job", precheck={"command": [program(project, "check.sh", text)], "timeout_s": 500})
    job = played(project, 8)
    headline = "infrastructure: precheck.GEN_0 failed in stage launch: the precheck of GEN_0 failed: n2: task 1: "
    for text in cases(project).values():
        assert text.startswith(headline), text
        assert "link 3 of n2 is down" in text
    assert len(cases(project)) == 2
    assert job.result()["bad_nodes"] == ["n2"]
    assert_no_role_started(job)


def test_a_precheck_that_hangs(project: Project) -> None:
    project.case("job", precheck={"command": ["sleep", "600"], "timeout_s": 1})
    job = played(project, 8)
    assert "failed in stage launch: still running after 1 s, its limit" in cases(project)["precheck"]
    assert_no_role_started(job)


def test_a_node_with_another_version(project: Project) -> None:
    """And a dataset that is not there: every check is made, the first bad one is the cause."""
    (project.folder / "old" / "pytest_disagg").mkdir(parents=True)
    (project.folder / "old" / "pytest_disagg" / "__init__.py").touch()
    (project.folder / "old" / "pytest_disagg" / "version.py").write_text('__version__ = "0.0.1"\n')
    text = f'[ "$SLURMD_NODENAME" != n3 ] || export PYTHONPATH="{project.folder}/old"\nexec {sys.executable} "$@"'
    project.cluster(python=program(project, "python", text))
    job = played(project, 8)
    junit = cases(project)["test_e2e"]
    assert junit.startswith(
        "infrastructure: check failed in stage launch: node n3: pytest-disagg: found 0.0.1, expected pytest-disagg "
    ), junit
    assert job.result()["bad_nodes"] == ["n3"]
    said = [json.loads(line) for line in (job.rundir.path / "check.log").read_text().splitlines() if line[0] == "{"]
    assert {each["found"].partition(" ")[0] for each in said if each["check"] == "GPUs"} == {"1"}
    assert_no_role_started(job)
