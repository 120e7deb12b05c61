"""Which job starts when, and what each task ended as; Slurm is a list of results here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import pytest
import xmlschema

from pytest_disagg.cli.run_report import all_attempts, summary
from pytest_disagg.errors import Kind, RunError
from pytest_disagg.launch.lists.markers import Markers
from pytest_disagg.launch.local import Event
from pytest_disagg.launch.slurm.campaign import Campaign, Rules, Task
from pytest_disagg.launch.slurm.campaign_junit import write_endings
from pytest_disagg.launch.slurm.client import SlurmError
from pytest_disagg.launch.slurm.follow import Follower, Job, Times
from pytest_disagg.launch.slurm.jobdir import JobDir
from pytest_disagg.launch.slurm.junit import write_junit
from pytest_disagg.launch.slurm.result import JobResult
from pytest_disagg.launch.slurm.submission import Submission
from pytest_disagg.launch.slurm.submit import Wanted
from pytest_disagg.records.gpu_hours import GpuHours

XSD = Path(__file__).resolve().parents[3] / "data" / "junit.xsd"
FUNCTIONAL: Kind = "functional"


class Lab(Follower):
    """A Slurm whose jobs end when a test says so. ``log`` has what was started, with how many were in flight then."""

    def __init__(self, folder: Path) -> None:
        super().__init__((), lambda event: None)
        self.folder = folder
        self.open: dict[str, str] = {}
        self.log: list[tuple[str, int]] = []
        self.excluded: list[tuple[str, ...]] = []
        self.refused: set[str] = set()
        self.outage = 0
        self.cancelled: list[str] = []

    def start(self, wanted: Wanted) -> Job:
        name = wanted.test_name
        if name in self.refused:
            raise RunError(f"{name}: sbatch failed", kind="infrastructure", stage="launch")
        self.log.append((name, len(self.open)))
        self.excluded.append(wanted.exclude)
        job_id = str(len(self.log))
        self.open[job_id] = name
        submission = Submission(name, str(self.folder), "lab", (), {}, 1.0, f"t.py::{name}")
        return Job(job_id, JobDir(self.folder), submission)

    def add(self, job: Job) -> None:
        self.times[job.job_id] = Times(0.0)

    def step(self) -> bool:
        return bool(self.open)

    def cancel(self) -> list[str]:
        if self.outage:
            self.outage -= 1
            raise SlurmError("scancel did not answer")
        self.cancelled = list(self.open)
        for name in list(self.open.values()):
            self.end(name, "infrastructure", cancelled=True)
        return self.cancelled

    def end(self, name: str, kind: Kind | None = None, **changes: Any) -> None:
        """The newest job of that name is over."""
        job_id = next(job_id for job_id, other in reversed(self.open.items()) if other == name)
        del self.open[job_id]
        junit = self.folder / f"{job_id}.xml"
        red = (f"{kind}: {name} failed in stage measure: so",) if kind else ()
        verdict = "failed" if kind else "pass"
        values: dict[str, Any] = {"kind": kind, "red": red, "junit": str(junit), "nodes": "n1", **changes}
        result = JobResult(name, job_id, f"{job_id}.0", verdict, **values)
        write_junit(junit, self.folder / "none.xml", f"t.py::test_e2e[{name}]", result, ["log line"])
        self.results[job_id] = result


class Runner:
    """A campaign that is looked at step by step."""

    def __init__(self, folder: Path, tasks: Sequence[Task], **rules: Any) -> None:
        self.lab = Lab(folder)
        self.said: list[str] = []
        self.campaign = Campaign(tasks, self.lab.start, self.lab, self._say, Rules(**rules))

    def _say(self, event: Event) -> None:
        self.said.append(event.text)

    def look(self) -> list[str]:
        """Step until nothing more is started; what is in flight."""
        while self.campaign.step():
            pass
        return list(self.lab.open.values())

    def words(self) -> list[tuple[str, int]]:
        return [(ending.verdict, ending.code) for ending in self.campaign.endings()]


def task(name: str, *, refusal: str = "", **markers: Any) -> Task:
    # A campaign hands what is wanted on; of a case, a cluster and their script it knows nothing.
    wanted = Wanted(case=cast("Any", None), cluster=cast("Any", None), work_dir=Path(), options=(), test_name=name)
    return Task(
        name, f"t.py::test_e2e[{name}]", None if refusal else wanted, refusal, Markers(**markers), f"list.txt:{name}"
    )


def test_all_at_once_without_a_limit(tmp_path: Path) -> None:
    runner = Runner(tmp_path, [task("a"), task("b"), task("c")])
    assert runner.look() == ["a", "b", "c"]


def test_never_more_than_max_jobs(tmp_path: Path) -> None:
    runner = Runner(tmp_path, [task(name) for name in "abcd"], max_jobs=2)
    assert runner.look() == ["a", "b"]
    runner.lab.end("b")
    assert runner.look() == ["a", "c"]
    runner.lab.end("a")
    runner.lab.end("c")
    assert runner.look() == ["d"]
    runner.lab.end("d")
    runner.campaign.run()
    assert max(in_flight for _, in_flight in runner.lab.log) == 1
    assert runner.words() == [("pass", 0)] * 4


def test_isolation_runs_alone_and_in_its_turn(tmp_path: Path) -> None:
    runner = Runner(tmp_path, [task("a"), task("b", isolated=True), task("c"), task("d")])
    assert runner.look() == ["a"]
    runner.lab.end("a")
    assert runner.look() == ["b"]
    runner.lab.end("b")
    assert runner.look() == ["c", "d"]


def test_stop_on_error_starts_nothing_more_and_lets_the_others_end(tmp_path: Path) -> None:
    runner = Runner(tmp_path, [task(name) for name in "abcd"], max_jobs=2, stop_on_error=True, retries=1)
    runner.look()
    runner.lab.end("a", FUNCTIONAL)
    assert runner.look() == ["b"]
    runner.lab.end("b", "infrastructure")
    runner.campaign.run()
    assert runner.words() == [("failed", 7), ("failed", 8), ("not started", 0), ("not started", 0)]
    assert "a was red before" in runner.campaign.endings()[3].cause


def test_a_refused_task_stops_only_where_it_was_asked_for(tmp_path: Path) -> None:
    tasks = [task("a", refusal="config: no such file"), task("b")]
    runner = Runner(tmp_path, tasks)
    assert runner.look() == ["b"]
    runner.lab.end("b")
    runner.campaign.run()
    assert runner.words() == [("failed", 4), ("pass", 0)]
    stopping = Runner(tmp_path, tasks, stop_on_error=True)
    assert stopping.look() == []
    assert stopping.words() == [("failed", 4), ("not started", 0)]


def test_sbatch_that_refuses_one(tmp_path: Path) -> None:
    runner = Runner(tmp_path, [task("a"), task("b")], retries=1)
    runner.lab.refused.add("a")
    assert runner.look() == ["b"]
    runner.lab.end("b")
    first, second = runner.campaign.run()
    assert (first.code, first.kind, first.cause) == (
        8,
        "infrastructure",
        "infrastructure: job failed in stage launch: a: sbatch failed",
    )
    assert second.code == 0


def test_retries_are_for_infrastructure_and_elsewhere(tmp_path: Path) -> None:
    runner = Runner(tmp_path, [task("a"), task("b"), task("c")], retries=1, max_jobs=2)
    runner.look()
    runner.lab.end("a", "infrastructure", bad_nodes=("n2",))
    runner.lab.end("b", FUNCTIONAL)
    assert runner.look() == ["a", "c"]
    assert runner.lab.excluded == [(), (), ("n2",), ()]
    assert any("a: submitting again, without n2" in text for text in runner.said)
    runner.lab.end("a", "infrastructure", bad_nodes=("n3",))
    runner.lab.end("c")
    runner.campaign.run()
    assert runner.words() == [("failed", 8), ("failed", 7), ("pass", 0)]


@pytest.mark.parametrize(
    ("kind", "strict", "word"),
    [
        (FUNCTIONAL, False, ("xfailed", 0)),
        (None, False, ("xpassed", 0)),
        (None, True, ("xpassed", 4)),
    ],
)
def test_xfail(tmp_path: Path, kind: Kind | None, strict: bool, word: tuple[str, int]) -> None:
    runner = Runner(tmp_path, [task("a", xfail="bug 7")], xfail_strict=strict)
    runner.look()
    runner.lab.end("a", kind)
    runner.campaign.run()
    assert runner.words() == [word]


def test_cancel_ends_what_is_in_flight_and_starts_no_more(tmp_path: Path) -> None:
    runner = Runner(tmp_path, [task("a", xfail="x"), task("b"), task("c"), task("d", skip="s")], max_jobs=2, retries=1)
    runner.look()
    runner.lab.outage = 2
    runner.campaign.cancel()
    runner.campaign.run()
    assert runner.lab.cancelled == ["1", "2"]
    assert [text for text in runner.said if "cancel" in text and "done" not in text] == [
        "cannot cancel yet, trying again: scancel did not answer",
        "cancelling 1, 2; Ctrl-C again to leave without waiting",
    ]
    assert runner.words() == [("cancelled", 2), ("cancelled", 2), ("cancelled", 2), ("skipped", 0)]


def test_a_bug_leaves_no_job_in_flight(tmp_path: Path) -> None:
    runner = Runner(tmp_path, [task("a"), task("b")])
    runner.look()
    runner.campaign.abandon()
    assert runner.lab.cancelled == ["1", "2"]


def test_what_has_no_ending_when_the_command_leaves(tmp_path: Path) -> None:
    runner = Runner(tmp_path, [task("a"), task("b")], max_jobs=1)
    runner.look()
    assert runner.words() == [("cancelled", 2), ("cancelled", 2)]
    assert [ending.cause for ending in runner.campaign.endings()] == [
        "the command left without waiting for job 1",
        "the command left without waiting for it",
    ]


def test_the_junit_file_has_a_test_for_each_task_in_order(tmp_path: Path) -> None:
    tasks = [
        task("passed", unstable="flaky"),
        task("skipped", skip="bug 1"),
        task("refused", refusal="config: list.txt:3: x.yaml:1: found '<x>'"),
        task("known", xfail="bug 2"),
        task("fixed", xfail="bug 3"),
        task("red"),
        task("late"),
    ]
    runner = Runner(tmp_path, tasks, max_jobs=4, stop_on_error=False, xfail_strict=True)
    runner.look()
    for name, kind in (("passed", None), ("known", FUNCTIONAL), ("fixed", None), ("red", FUNCTIONAL)):
        runner.lab.end(name, kind)
    runner.campaign.cancel()
    path = tmp_path / "reports" / "all.xml"
    write_endings(path, runner.campaign.run())
    xmlschema.XMLSchema(str(XSD)).validate(str(path))
    cases = {case.attrib["name"]: case for case in ElementTree.parse(path).getroot().iter("testcase")}
    assert list(cases) == [f"test_e2e[{each.name}]" for each in tasks]
    found = {}
    for name, case in cases.items():
        parts = [(part.tag, part.get("type"), part.get("message")) for part in case if part.tag != "properties"]
        found[name.partition("[")[2][:-1]] = parts
    assert found == {
        "passed": [],
        "skipped": [("skipped", "pytest.skip", "bug 1")],
        "refused": [("error", "config", "config: list.txt:3: x.yaml:1: found '<x>'")],
        "known": [("skipped", "pytest.xfail", "bug 2")],
        "fixed": [("failure", None, "[XPASS(strict)] bug 3")],
        "red": [("failure", None, "functional: red failed in stage measure: so")],
        "late": [("error", "cancelled", "the command was cancelled before this case was started")],
    }
    known = cases["test_e2e[known]"].find("skipped")
    assert known is not None
    assert (known.text or "").startswith("functional: known failed in stage measure: so")
    properties = {each.get("name"): each.get("value") for each in cases["test_e2e[passed]"].iter("property")}
    assert properties["disagg_list_line"] == "list.txt:passed"
    assert properties["disagg_unstable"] == "flaky"
    suites = ElementTree.parse(path).getroot().iter("testsuite")
    assert sum(int(suite.get("skipped", "0")) for suite in suites) == 2


def test_gpu_hours_of_every_job_of_a_case_count(tmp_path: Path) -> None:
    runner = Runner(tmp_path, [task("a"), task("b")], retries=1)
    runner.look()
    runner.lab.end("a", "infrastructure", gpu_hours={"allocated": 2.0, "useful": 0.0, "wasted": 2.0})
    runner.look()
    requeued = JobResult("a", "3", "3.0", "failed", gpu_hours={"allocated": 1.0, "useful": 0.0, "wasted": 1.0})
    runner.lab.earlier["3"] = [requeued]
    runner.lab.end("a", gpu_hours={"allocated": 4.0, "useful": 3.0, "wasted": 1.0})
    runner.lab.end("b")
    runner.campaign.run()
    first, second = runner.campaign.endings()
    assert first.gpu_hours == GpuHours(7.0, 3.0)
    assert second.gpu_hours is None
    lines = summary([first, second]).splitlines()
    assert "7.00" in lines[1]
    assert all_attempts([first, second]) == (
        "a: GPU-hours of all its runs: 7.00 allocated, 3.00 useful, 4.00 wasted (57 %)\n"
    )
    assert lines[-2] == "GPU-hours: 7.00 allocated, 3.00 useful, 4.00 wasted (57 %)"
