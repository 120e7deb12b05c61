"""Quarantine in jobs: exit code and junit of a case that is in it, nodes that are left out."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import xmlschema

from pytest_disagg.cli.run_report import summary
from pytest_disagg.errors import UsageError
from pytest_disagg.launch.slurm.campaign import Ending
from pytest_disagg.launch.slurm.codes import exit_code
from pytest_disagg.launch.slurm.result import JobResult
from pytest_disagg.rundir.files import read_json
from pytest_disagg.rundir.outcome import Outcome
from pytest_disagg.rundir.state import Failure
from pytest_disagg.verdict.quarantine import Quarantine, append
from tests.unit.launch.slurm.conftest import MakeJob
from tests.unit.launch.slurm.test_campaign import Runner, task
from tests.unit.launch.slurm.test_conclude import CANCELLED, CASE, GREEN, XSD, Run

TODAY = datetime.date.today()
UNTIL = TODAY + datetime.timedelta(days=3)
LINE = Quarantine(TODAY, UNTIL, "ann", "hangs, #7", case=CASE)
WORDS = f"quarantined by ann until {UNTIL}: hangs, #7"
DIED = Failure("CTX_0", "functional", "measure", "its CTX server 0 ended: exit code 7", exit_code=7)
XFAILED = GREEN.replace('skipped="0"', 'skipped="1"').replace(
    "</properties>",
    f'<property name="disagg_red" value="{DIED.headline()}"/><property name="disagg_verdict" value="failed"/>'
    f'</properties><skipped type="pytest.xfail" message="{WORDS}"/>',
)


def in_quarantine(tmp_path: Path, line: Quarantine = LINE) -> Run:
    """A run whose submission names a file with that line."""
    path = tmp_path / "baselines/quarantine.yaml"
    append(path, line)
    run = Run(tmp_path)
    run.submission = replace(run.submission, quarantine=str(path))
    return run


def the_test(text: str) -> ElementTree.Element:
    xmlschema.XMLSchema(str(XSD)).validate(text)
    root = ElementTree.fromstring(text.encode())
    (suite,) = root.iter("testsuite")
    assert [suite.get(name) for name in ("failures", "errors", "skipped")] == ["0", "0", "1"]
    (case,) = root.iter("testcase")
    return case


@pytest.mark.parametrize("junit", [None, XFAILED])
def test_its_red_is_an_expected_failure_and_no_exit_code(tmp_path: Path, junit: str | None) -> None:
    run = Run(tmp_path)
    red = (DIED.headline(), "invalid: con8: nothing measured")
    Outcome("7.0", CASE, "failed", DIED.kind, DIED, red, quarantine=WORDS, excused=True).write(run.rundir)
    if junit is not None:
        run.benchmark_junit(junit)
    result = run.conclude(steps={"CTX_0": 7, "BENCHMARK": 0})
    assert (result.verdict, result.kind, result.red[0]) == ("failed", "functional", DIED.headline())
    assert (result.quarantine, result.excused, exit_code(result)) == (WORDS, True, 0)
    case = the_test(run.junit)
    (skipped,) = case.findall("skipped")
    assert (skipped.get("type"), skipped.get("message")) == ("pytest.xfail", WORDS)
    assert (skipped.text or "").startswith(DIED.headline())
    assert "nothing measured" in (skipped.text or "")
    values = {each.get("name"): each.get("value") for each in case.iter("property")}
    assert (values["disagg_quarantine"], values["disagg_verdict"]) == (WORDS, "failed")
    assert JobResult.read(run.rundir.path) == result


def test_the_file_is_asked_where_benchmark_is_gone(tmp_path: Path) -> None:
    run = in_quarantine(tmp_path)
    run.failed(DIED)
    result = run.conclude(steps={"CTX_0": 7, "BENCHMARK": 137})
    assert (result.kind, result.quarantine, result.excused, exit_code(result)) == ("functional", WORDS, True, 0)
    written = read_json(run.rundir.outcome)
    assert written is not None
    assert (written["quarantine"], written["excused"]) == (WORDS, True)
    the_test(run.junit)


def test_a_node_excuses_nothing(tmp_path: Path) -> None:
    run = in_quarantine(tmp_path, replace(LINE, case="", node="n2"))
    run.failed(DIED)
    result = run.conclude(nodes="n[1-2]", steps={"CTX_0": 7})
    assert (result.quarantine, result.excused, exit_code(result)) == (f"node n2 {WORDS}", False, 7)
    assert "<failure" in run.junit


@pytest.mark.parametrize("elsewhere", [{"cluster": "other"}, {"case": "disagg-e2e-y"}, {"date": UNTIL, "until": UNTIL}])
def test_a_line_that_does_not_hold_here(tmp_path: Path, elsewhere: dict[str, Any]) -> None:
    run = in_quarantine(tmp_path, replace(LINE, **elsewhere))
    run.failed(DIED)
    result = run.conclude(steps={"CTX_0": 7})
    assert (result.quarantine, exit_code(result)) == ("", 7)


def test_a_file_that_broke_meanwhile_excuses_nothing_and_is_said(tmp_path: Path) -> None:
    run = in_quarantine(tmp_path)
    Path(run.submission.quarantine).write_text("quarantine: 7\n")
    run.failed(DIED)
    result = run.conclude(steps={"CTX_0": 7})
    assert exit_code(result) == 7
    assert "quarantine.yaml:1: quarantine: found 7, expected a list" in result.lines[0]


def test_cancelled_stays_cancelled(tmp_path: Path) -> None:
    run = in_quarantine(tmp_path)
    run.failed(DIED)
    assert exit_code(run.conclude(CANCELLED, interrupted=True)) == 2


def test_it_is_not_retried_and_counted_apart(tmp_path: Path) -> None:
    runner = Runner(tmp_path, [task("a"), task("b", xfail="bug 7"), task("c")], retries=1, stop_on_error=True)
    runner.look()
    for name in ("a", "b"):
        runner.lab.end(name, "infrastructure", quarantine=WORDS, excused=True)
    runner.lab.end("c", quarantine=WORDS, excused=True)
    assert runner.look() == []
    endings = runner.campaign.run()
    brief = f"(quarantined by ann until {UNTIL})"
    assert runner.words() == [(f"failed {brief}", 0), (f"failed {brief}", 0), (f"pass {brief}", 0)]
    assert [ending.quarantined for ending in endings] == [True, True, False]
    assert "3 cases: 1 green, 0 red, 2 quarantined" in summary(endings)
    assert not Ending(endings[0].task, "pass").quarantined


def exclude(make_job: MakeJob, *sbatch: str, nodes: tuple[str, ...] = ("n1", "n2")) -> list[str]:
    job = make_job({"sbatch": list(sbatch)}, {"exclude": nodes})
    return [option for option in job.directives if option.startswith(("--exclude", "-x"))]


def test_nodes_are_left_out_beside_those_of_the_cluster_file(make_job: MakeJob) -> None:
    assert exclude(make_job) == ["--exclude=n1,n2"]
    assert exclude(make_job, "--exclude=n[7-9]") == ["--exclude=n[7-9],n1,n2"]
    assert exclude(make_job, "-xn7") == ["--exclude=n7,n1,n2"]
    assert exclude(make_job, "--exclude=n7", nodes=()) == ["--exclude=n7"]
    with pytest.raises(UsageError, match=r"'--exclude=./bad': found a file, expected node names: n1,n2 are left out"):
        exclude(make_job, "--exclude=./bad")


def test_the_cluster_is_named_to_the_roles(make_job: MakeJob) -> None:
    from pytest_disagg.launch.slurm.script import render

    assert "export DISAGG_CLUSTER_NAME=hsg\n" in render(make_job({"name": "hsg"}))
    assert "DISAGG_CLUSTER_NAME" not in render(make_job())
