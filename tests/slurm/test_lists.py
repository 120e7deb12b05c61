"""`disagg run --test-list` on a real cluster: verdicts, markers, junit, exit code, jobs in flight, Ctrl-C."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import xmlschema

from tests.slurm.jobs import Command, Project, processes_of

XSD = Path(__file__).resolve().parents[1] / "data" / "junit.xsd"
LONG = {"client_configs": [{"name": "con4", "concurrency": 4, "iterations": 4000, "isl": 32, "osl": 8}]}


def alone(project: Project, name: str, *, server: dict[str, Any] | None = None, **changes: Any) -> None:
    """A case of one process on one GPU: the smallest job there is."""
    config = {
        "name": "tp1",
        "tensor_parallel_size": 1,
        "max_batch_size": 16,
        "stream_interval": 1,
        "client_configs": [{"name": "con2", "concurrency": 2, "iterations": 2, "isl": 16, "osl": 8}],
        **(server or {}),
    }
    own = {"cases": ["aggr"], "hardware": {"gpus_per_node": 1}, "server_configs": [config]}
    path = project.case(name, **{**own, "worker_config": None, "benchmark": None, **changes})
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.endswith(": null\n")))


def listed(project: Project, *lines: str) -> str:
    (project.folder / "list.txt").write_text("".join(f"{line}\n" for line in lines))
    return "--test-list=list.txt"


def run_list(project: Project, *arguments: str, env: dict[str, str] | None = None) -> Command:
    return project.disagg("run", *arguments, "--config-dir=cases", "--junitxml=all.xml", env=env)


def merged(project: Project) -> dict[str, ElementTree.Element]:
    """The tests of the merged junit file, by name, in its order."""
    path = project.folder / "all.xml"
    xmlschema.XMLSchema(str(XSD)).validate(str(path))
    return {case.attrib["name"]: case for case in ElementTree.parse(path).getroot().iter("testcase")}


def colour(case: ElementTree.Element) -> str:
    for tag in ("failure", "error", "skipped"):
        part = case.find(tag)
        if part is not None:
            return f"{tag} {part.get('type') or ''}".strip()
    return "green"


def rows(command: Command) -> dict[str, list[str]]:
    """The summary table: case -> the other cells."""
    table = command.output[command.output.index("\ncase  ") :].split("\n\n")[0]
    cells = (re.split(r"  +", line) for line in table.strip().splitlines()[1:])
    return {first: rest for first, *rest in cells}


def test_a_list_with_a_broken_and_a_failing_case(project: Project) -> None:
    alone(project, "first", slurm={"timeout": 300})
    alone(project, "third")
    for name in ("bad", "known"):
        alone(project, name, sim={"faults": [{"role": "SERVER_*", "kind": "exit", "exit_code": 7}]})
    alone(project, "broken", hardware={"gpus_per_node": "many"})
    command = run_list(
        project,
        listed(
            project,
            "perf/test_perf_sanity.py::test_e2e[aggr-first] TIMEOUT (4)",
            "aggr-bad  # ends with exit code 7",
            "broken",
            "cases/third.yaml",
            "known XFAIL (its server is known to end (bug 7))",
            "first",
            "nosuch SKIP (not written yet)",
        ),
    )
    assert command.end() == 7, command.output
    tests = merged(project)
    assert list(tests) == [
        f"test_e2e[{name}]" for name in ("aggr-first", "aggr-bad", "broken", "aggr-third", "aggr-known", "nosuch")
    ]
    assert [colour(case) for case in tests.values()] == [
        "green",
        "failure",
        "error config",
        "green",
        "skipped pytest.xfail",
        "skipped pytest.skip",
    ]
    table = rows(command)
    assert table["aggr-bad"][:2] == ["failed", "functional"]
    assert "exit code 7" in table["aggr-bad"][-1]
    assert re.fullmatch(r"n[1-4]", table["aggr-bad"][5])
    assert table["broken"][:2] == ["failed", "config"]
    assert "list.txt:3" in table["broken"][-1]
    assert "hardware.gpus_per_node" in table["broken"][-1]
    assert table["aggr-known"][0] == "xfailed"
    assert "list.txt:6: aggr-first again, first at list.txt:1: it runs once" in command.output
    assert command.output.endswith("6 cases: 2 green, 2 red, 1 skipped, 1 xfailed\n")
    scripts = [path.read_text() for path in project.work_dir.glob("jobs/2*-*/job.sh")]
    assert sum("--disagg-set=slurm.timeout=240" in script for script in scripts) == 1
    assert not processes_of(project.folder)


def test_ctrl_c_cancels_the_jobs_in_flight_and_starts_no_more(project: Project) -> None:
    names = [f"case{i}" for i in range(4)]
    for name in names:
        alone(project, name, server=LONG)
    command = run_list(project, listed(project, *names), "--max-jobs=2")
    ids = [project.job_id(command, nth) for nth in range(2)]
    command.wait_for(lambda: command.output.count("BENCHMARK: measure") == 2, "two jobs to measure")
    queued = project.slurm.call("squeue", "--noheader", "--format=%i").split()
    assert sorted(queued) == sorted(ids)
    command.interrupt()
    assert command.end() == 2, command.output
    assert f"cancelling {', '.join(ids)}" in command.output
    assert len(list(project.work_dir.glob("jobs/2*-*"))) == 2
    tests = merged(project)
    assert list(tests) == [f"test_e2e[aggr-{name}]" for name in names]
    assert [colour(case) for case in tests.values()] == ["failure", "failure", "error cancelled", "error cancelled"]
    assert not processes_of(project.folder)
