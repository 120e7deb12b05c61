"""``disagg up`` and ``--disagg-keep``: a deployment that stays until somebody lets go of it, and one that breaks."""

from __future__ import annotations

import re
import signal
import sys

import pytest
import requests

from tests.faults.conftest import AGGR, DISAGG, Run, Start, fault

UP_AT = re.compile(r"the deployment is up at (http://\S+?);")


def up(run: Run, *sets: str) -> None:
    """Start ``disagg up`` on the run's case."""
    words = [word for item in sets for word in ("--set", item)]
    argv = ["up", run.case_id, "--config-dir=cases", f"--work-dir={run.work_dir}", *words]
    run.start([sys.executable, "-m", "pytest_disagg.cli.main", *argv])


def printed_url(run: Run) -> str:
    """The URL that a person would copy from the output."""
    run.wait_for(lambda: UP_AT.search(run.output()) is not None, "the URL to be printed")
    found = UP_AT.search(run.output())
    assert found is not None
    return found[1]


@pytest.mark.parametrize("case_id", [DISAGG, AGGR])
def test_up_answers_until_ctrl_c(prepare: Start, case_id: str) -> None:
    run = prepare(case_id)
    up(run)
    url = printed_url(run)
    assert requests.get(f"{url}/health", timeout=10).status_code == 200
    body = {"model": "sim-8b", "prompt": "x", "max_tokens": 3}
    answer = requests.post(f"{url}/v1/completions", json=body, timeout=10)
    assert answer.json()["usage"]["completion_tokens"] == 3
    run.processes[0].send_signal(signal.SIGINT)
    assert run.end() == 0, run.output()
    assert run.alive() == {}
    assert run.outcome()["verdict"] == "released"


@pytest.mark.parametrize(("case_id", "role"), [(DISAGG, "GEN_0"), (AGGR, "SERVER_0")])
def test_up_that_breaks_says_why_and_fails(prepare: Start, case_id: str, role: str) -> None:
    run = prepare(case_id)
    up(run, fault(role, "exit", exit_code=5))
    assert run.end() == 7, run.output()
    assert run.alive() == {}
    assert "ended with exit code 5" in run.output()


def test_a_kept_deployment_answers_until_it_is_released(start: Start) -> None:
    run = start(case_id=AGGR, args=["--disagg-keep"])
    url = printed_url(run)
    assert requests.get(f"{url}/health", timeout=10).status_code == 200
    assert f"`touch {run.rundir.release}` ends it" in run.output()
    run.rundir.release.touch()
    assert run.end() == 0, run.output()
    assert run.alive() == {}
    assert run.outcome()["metrics"], "what was measured before is kept"


def test_a_kept_deployment_that_breaks_ends_the_run(start: Start) -> None:
    run = start(case_id=AGGR, args=["--disagg-keep"])
    printed_url(run)
    run.kill_engine("server")
    assert run.end() == 1
    assert run.alive() == {}
    assert run.junit().headline.startswith("functional: BENCHMARK failed in stage hold: its server 0 (tp1) was killed")


def test_ctrl_c_ends_a_kept_deployment_with_its_results(start: Start) -> None:
    run = start(args=["--disagg-keep"])
    run.wait_for(lambda: "BENCHMARK: up at http" in run.output(), "BENCHMARK to hold the deployment")
    address = run.state("DISAGG_SERVER")["address"]
    assert f"BENCHMARK: up at http://{address} until Ctrl-C or `touch {run.rundir.release}`" in run.output()
    assert requests.get(f"http://{address}/health", timeout=10).status_code == 200
    run.processes[0].send_signal(signal.SIGINT)
    assert run.end() == 0, run.output()
    assert run.alive() == {}
    assert run.junit().text == ""
