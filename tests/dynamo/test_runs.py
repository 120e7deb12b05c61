"""The real frontend before real prefill and decode workers (simulated compute), under our roles."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from tests.dynamo.conftest import CALM, DynamoRun, Start
from tests.faults.conftest import assert_everybody_red

FILES, ETCD = "disagg-e2e-dynamo-1ctx-2gen", "disagg-e2e-dynamo-etcd-1ctx-2gen"


def ended_green(run: DynamoRun) -> None:
    assert run.end() == 0, run.output()
    assert run.alive() == {}
    assert run.junit().text == ""


def records(run: DynamoRun) -> list[dict[str, Any]]:
    lines = (run.rundir.results / "records.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def whole_answers(run: DynamoRun, osl: int) -> bool:
    """Every request of every load came back with as many tokens as were asked for."""
    loads = [json.loads(path.read_text(encoding="utf-8")) for path in run.rundir.results.glob("load.*.json")]
    return bool(loads) and all(set(load["output_lens"]) == {osl} and not any(load["errors"]) for load in loads)


def test_workers_that_find_each_other_by_files(start: Start) -> None:
    run = start(FILES, *CALM, "benchmark.concurrency_list=2,4")
    ended_green(run)
    measured = records(run)
    assert [record["l_concurrency"] for record in measured] == [2, 4]
    assert all(record["b_is_valid"] and record["s_engine"] == "dynamo" for record in measured)
    assert whole_answers(run, 32)
    for role in ("GEN_0", "GEN_1", "CTX_0", "DISAGG_SERVER"):
        assert "\x1b" not in run.log(role), "colours in a file"
    assert (run.rundir.shared / "dynamo").is_dir()
    assert not run.rundir.log("etcd").exists()


@pytest.mark.usefixtures("etcd_and_nats")
def test_workers_that_find_each_other_by_etcd_and_nats(start: Start) -> None:
    run = start(ETCD, *CALM)
    ended_green(run)
    assert whole_answers(run, 32)
    assert "ready to serve client requests" in run.log("etcd")
    assert "Server is ready" in run.log("nats")
    assert not (run.rundir.shared / "dynamo").exists()


def test_a_killed_prefill_worker_is_the_cause_for_everyone(start: Start) -> None:
    """Told by who started it: neither a limit nor a still stream has to pass."""
    patient = ("timeouts.stall_s=30", "timeouts.heartbeat_timeout_s=30")
    run = start(FILES, *CALM, "benchmark.concurrency_list=4", "benchmark.multi_round=400", *patient)
    run.wait_until_measuring()
    os.kill(run.worker("prefill"), signal.SIGKILL)
    assert run.end() == 1
    assert run.alive() == {}
    assert_everybody_red(run, "functional", "CTX_0", "in stage measure", "its CTX server 0 was killed by SIGKILL")


def test_an_aggregated_worker_behind_a_frontend(start: Start) -> None:
    run = start("aggr-dynamo-aggregated")
    ended_green(run)
    assert whole_answers(run, 16)
    assert "dynamo_llm::http::service" in run.log("DISAGG_SERVER")
