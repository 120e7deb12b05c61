"""What a report knows of a run directory, and that nothing in one stops it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from pytest_disagg.records import record as records
from pytest_disagg.report.model import Report
from pytest_disagg.report.read import read_case
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.rundir.state import Failure
from pytest_disagg.verdict.types import Verdict
from tests.unit.report.conftest import Make, fields, metrics, record, requests

DEAD = Failure("GEN_0", "functional", "ready", "its server exited with code 3", exit_code=3, evidence=("boom",))


def test_a_run(make_run: Make) -> None:
    case = read_case(make_run(info="a; b"))
    assert (case.case, case.run_id, case.verdict, case.bad) == ("disagg-e2e-x", "r1", "pass", False)
    assert [load.label for load in case.loads] == ["con4", "con8"]
    assert case.loads[1].metrics["token_throughput"] == 2000
    assert [role.role for role in case.roles] == ["BENCHMARK", "CTX_0", "GEN_0"]
    assert case.stage_times == {"ready": 1.5, "measure": 2.0}
    assert case.facts["Host"] == "node-1"
    assert case.facts["GPU"] == "h100"
    assert case.problems == ()


def test_latencies_are_those_of_every_repeat_and_only_of_requests_that_succeeded(make_run: Make) -> None:
    folder = make_run(concurrencies=(4,))
    path = folder / "results/load.0.0.r1.json"
    path.write_text(json.dumps(requests([0.1, 0.0])))
    load = read_case(folder).loads[0]
    assert load.latencies["ttft"] == pytest.approx([40, 50, 60, 100])
    assert load.latencies["tpot"] == pytest.approx([10] * 4)
    assert load.latencies["e2el"] == pytest.approx([140, 150, 160, 200])


def test_what_was_sampled_stands_beside_what_the_outcome_says(make_run: Make) -> None:
    folder = make_run(concurrencies=())
    stored = fields({"token_throughput": 1.0, "tm_host_cpu_percent_mean": 42.0})
    records.append(RunDir(folder).records, [record("disagg-e2e-x", 4, **stored)])
    path = RunDir(folder).outcome
    path.write_text(json.dumps({**json.loads(path.read_text()), "metrics": {"con4": {"token_throughput": 1000.0}}}))
    (load,) = read_case(folder).loads
    assert load.metrics == {"token_throughput": 1000.0, "tm_host_cpu_percent_mean": 42.0}


def test_requests_belong_to_their_server_and_load(make_run: Make) -> None:
    folder = make_run(concurrencies=())
    found = [
        record("aggr-x", concurrency, s_server_name=server, s_client_name=f"con{concurrency}", **fields(metrics()))
        for server in ("a", "b")
        for concurrency in (1, 2)
    ]
    records.append(RunDir(folder).records, found)
    for server in (0, 1):
        for load in (0, 1):
            path = folder / f"results/load.{server}.{load}.r0.json"
            path.write_text(json.dumps(requests([(10 * server + load + 1) / 1000])))
    loads = read_case(folder).loads
    assert {load.label: [round(value) for value in load.latencies["ttft"]] for load in loads} == {
        "a/con1": [1],
        "a/con2": [2],
        "b/con1": [11],
        "b/con2": [12],
    }


def test_a_red_run(make_run: Make) -> None:
    logs = {"GEN_0": "\n".join(["CUDA error: out of memory", *(f"line {i}" for i in range(40))]), "CTX_0": "fine\n"}
    case = read_case(
        make_run(concurrencies=(), verdict="failed", kind="functional", cause=DEAD, red=(DEAD.headline(),), logs=logs)
    )
    assert case.bad
    assert case.headline == "functional: GEN_0 failed in stage ready: its server exited with code 3"
    assert case.evidence == ("boom",)
    first, *others = case.logs
    assert (first.name, first.cause, first.errors) == ("GEN_0.log", True, ("CUDA error: out of memory",))
    assert first.tail[-1] == "line 39"
    assert [(log.name, log.cause) for log in others] == [("CTX_0.log", False)]


def test_a_role_that_was_taken_along_is_no_cause(make_run: Make) -> None:
    taken = Failure("CTX_0", "functional", "ready", DEAD.headline(), because_of="GEN_0")
    case = read_case(make_run(concurrencies=(), verdict="failed", cause=taken, logs={"CTX_0": "x\n"}))
    assert not any(log.cause for log in case.logs)


def test_what_slurm_knows_lies_over_what_the_run_knows(make_run: Make) -> None:
    folder = make_run()
    job = {"verdict": "failed", "kind": "infrastructure", "red": ["the job hit its time limit"], "nodes": "n[1-2]"}
    (folder / "job.json").write_text(json.dumps(job))
    (folder / "job.facts").write_text("job_id 7\nstarted 1795250000\nended 1795250012\nstep GEN_0 0\n")
    case = read_case(folder)
    assert (case.verdict, case.kind, case.red) == ("failed", "infrastructure", ("the job hit its time limit",))
    assert case.facts["Nodes"] == "n[1-2]"
    assert case.facts["Job time"].startswith("12 s from ")
    assert len(case.loads) == 2


def test_a_run_that_nobody_concluded(make_run: Make) -> None:
    case = read_case(make_run(outcome=False, cause=DEAD, concurrencies=()))
    assert (case.verdict, case.kind) == ("failed", "infrastructure")
    assert case.red[0] == "infrastructure: GEN_0: its server exited with code 3"
    assert "no outcome.json; last seen: BENCHMARK stopped" in case.red[1]


def test_verdicts_with_their_evidence(make_run: Make) -> None:
    folder = make_run(concurrencies=(4,))
    written = [
        Verdict("pass", "token_throughput", 1000.0, 990.0, 1.01, 99.0, "baseline-csv", "fine", "x", "con4"),
        Verdict("suspect", "median_ttft", 40.0, 38.0, -5.3, 1.9, "night", "worse; HF_TOKEN=hunter2hunter2", "x", "con4",
                interval_percent=(-7.0, -3.0), gates=False),
    ]  # fmt: skip
    (folder / "results/verdicts.json").write_text(json.dumps([asdict(each) for each in written]))
    case = read_case(folder)
    first, second = case.rulings
    assert (first.load, first.word, first.value, first.reference) == ("con4", "pass", 1000, 990)
    assert (second.gates, second.interval_percent) == (False, (-7, -3))
    assert second.evidence == "worse; HF_TOKEN=***"
    assert case.loads[0].references == {"token_throughput": 990}


@pytest.mark.parametrize("content", ["", "{}", "[1, {}]", '[{"value": "x", "interval_percent": [1], "facts": 3}]'])
def test_verdicts_of_another_form(make_run: Make, content: str) -> None:
    folder = make_run()
    (folder / "results/verdicts.json").write_text(content)
    case = read_case(folder)
    assert len(case.rulings) == content.count("{") - (content == "{}")
    assert bool(case.problems) == (content in ("", "{}"))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"metrics": 5, "words": [], "red": 3, "stage_times": {"a": "b"}}'])
@pytest.mark.parametrize(
    "name",
    ["outcome.json", "job.json", "results/manifest.json", "roles/GEN_0.json", "results/load.0.0.r0.json", "plan.json"],
)
def test_a_broken_file_is_said_and_stops_nothing(make_run: Make, name: str, content: str) -> None:
    folder = make_run()
    (folder / name).write_text(content)
    case = read_case(folder)
    assert case.case == "disagg-e2e-x"
    if content in ("", "{", "[]"):
        assert any(Path(name).name in problem for problem in case.problems), case.problems


def test_broken_records_are_said(make_run: Make) -> None:
    folder = make_run()
    (folder / "results/records.jsonl").write_text("{}\nnonsense\n")
    case = read_case(folder)
    assert any("records.jsonl:2" in problem for problem in case.problems)
    assert [load.label for load in case.loads] == ["con4", "con8"]


def test_an_empty_folder(tmp_path: Path) -> None:
    case = read_case(tmp_path)
    assert case.verdict == "failed"
    assert "last seen: no role" in case.red[0]


def test_logs_and_results_are_redacted(make_run: Make) -> None:
    secret = "hunter2hunter2"
    case = read_case(
        make_run(logs={"GEN_0": f"HF_TOKEN={secret}\n\x1b[31mred\x1b[0m\x07\n"}, info=f"password={secret}")
    )
    assert secret not in repr(case)
    assert case.logs[0].tail[-1] == "red"


def test_the_report_is_as_bad_as_its_worst_case(make_run: Make) -> None:
    folders = [
        make_run(run_id="a"),
        make_run(run_id="b", verdict="regression", kind="regression"),
        make_run(run_id="c", verdict="failed", kind="functional"),
        make_run(run_id="d", verdict="suspect"),
    ]
    report = Report("t", "now", tuple(read_case(folder) for folder in folders))
    assert (report.verdict, report.bad) == ("failed", True)
    assert report.summary == "4 cases: 1 pass, 1 regression, 1 failed (functional), 1 suspect"
    assert Report("t", "now", report.cases[::3]).verdict == "suspect"
    assert not Report("t", "now", report.cases[::3]).bad
