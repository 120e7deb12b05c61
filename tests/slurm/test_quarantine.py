"""Quarantine on a real cluster: a node that no job gets, a case whose red is no failure."""

from __future__ import annotations

import datetime

from tests.slurm.jobs import Project
from tests.slurm.test_lists import alone, colour, listed, merged, rows, run_list

TODAY = datetime.date.today()
UNTIL = TODAY + datetime.timedelta(days=5)


def quarantine(project: Project, *about: str) -> None:
    folder = project.folder / "cases" / "baselines"
    folder.mkdir(exist_ok=True)
    lines = (f'  - {{date: {TODAY}, {each}, owner: ann, until: {UNTIL}, reason: "known, #7"}}\n' for each in about)
    (folder / "quarantine.yaml").write_text("".join(["quarantine:\n", *lines]))


def test_a_node_and_a_case_in_quarantine(project: Project) -> None:
    project.cluster(sbatch=["--exclude=n2"])
    alone(project, "fine")
    alone(project, "bad", sim={"faults": [{"role": "SERVER_*", "kind": "exit", "exit_code": 7}]})
    quarantine(project, "case: aggr-bad", "node: n1, cluster: lab")
    command = run_list(project, listed(project, "aggr-bad", "fine"), "--retries=1")
    assert command.end() == 0, command.output
    assert command.output.count(f"left out: node n1 quarantined by ann until {UNTIL}: known, #7\n") == 1
    table = rows(command)
    assert table["aggr-bad"][:2] == [f"failed (quarantined by ann until {UNTIL})", "functional"]
    assert "exit code 7" in table["aggr-bad"][-1]
    assert {row[-2] for row in table.values()} <= {"n3", "n4"}
    assert "2 cases: 1 green, 0 red, 1 quarantined\n" in command.output
    tests = merged(project)
    assert [colour(case) for case in tests.values()] == ["skipped pytest.xfail", "green"]
    skipped = tests["test_e2e[aggr-bad]"].find("skipped")
    assert skipped is not None
    assert skipped.get("message") == f"quarantined by ann until {UNTIL}: known, #7"
    assert "exit code 7" in (skipped.text or "")

    quarantine(project, "node: 'n[1-4]', cluster: lab")
    refused = project.run(case="fine")
    assert refused.end() == 8, refused.output
    assert f"; left out: nodes n[1-4] quarantined by ann until {UNTIL}: known, #7; script: " in refused.output
