"""What ends a run that nothing crashed: a frozen server, a load that takes too long, the run's own limit."""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

import yaml

from tests.faults.conftest import AGGR, AGGR_CASE, LONG_AGGR, Start, assert_red, fault


def test_a_frozen_server_ends_the_run_at_the_stall_time_and_is_killed(start: Start) -> None:
    """A stopped process takes no TERM: only the KILL after the grace ends it."""
    run = start(LONG_AGGR, "timeouts.stall_s=2", case_id=AGGR)
    run.wait_until_measuring()
    run.kill_engine("server", signal.SIGSTOP)
    assert run.end() == 1
    assert run.alive() == {}
    assert_red(run, "functional", "BENCHMARK", "in stage measure", "no progress for 2 s (timeouts.stall_s)")
    assert run.state("BENCHMARK")["server_exit"]["signal"] == "SIGKILL"


def test_a_load_that_takes_longer_than_its_limit(play: Start) -> None:
    run = play(LONG_AGGR, "timeouts.stall_s=2", "timeouts.measure_s=3", case_id=AGGR)
    junit = assert_red(run, "functional", "BENCHMARK", "in stage measure", "the load did not end within 3 s")
    assert "last seen" in junit.headline


def test_sigterm_does_not_wait_for_an_answer_to_the_probe(start: Start) -> None:
    limits = ("slurm.timeout=900", "timeouts.probe_s=300", "timeouts.request_s=299", "timeouts.measure_s=300")
    run = start(fault("SERVER_0", "hang"), *limits, case_id=AGGR)
    run.wait_for(lambda: "hangs from request 1" in run.log("SERVER_0"), "the probe to hang")
    run.processes[0].send_signal(signal.SIGTERM)
    assert run.end() != 0
    assert run.alive() == {}
    assert_red(run, "infrastructure", "BENCHMARK", "in stage probe", "stopped from outside (SIGTERM)")


def test_the_limit_of_the_whole_run_ends_a_deployment_that_is_kept(prepare: Start) -> None:
    run = prepare(AGGR)
    timeouts: dict[str, Any] = {"launch_s": 4, "ready_s": 3, "probe_s": 2, "warmup_s": 0.1, "measure_s": 0.4}
    timeouts |= {"store_s": 0.1, "stop_s": 0.4, "grace_s": 0.3, "stall_s": 0.3, "heartbeat_timeout_s": 2}
    (run.folder / "cases" / "alone.yaml").write_text(
        yaml.safe_dump({**AGGR_CASE, "slurm": {"timeout": 11}, "timeouts": timeouts})
    )
    run.start(
        [sys.executable, "-m", "pytest_disagg.cli.main", "up", AGGR, "--config-dir=cases", f"--work-dir={run.work_dir}"]
    )
    assert run.end() == 8, run.output()
    assert run.alive() == {}
    assert "in stage hold: the whole run's limit of 11 s (slurm.timeout) has passed" in run.output()


def test_what_was_measured_before_a_failure_is_kept(prepare: Start) -> None:
    """The second of two aggregated servers crashes: the first one's record stays, the run is red."""
    run = prepare(AGGR)
    (first,) = AGGR_CASE["server_configs"]
    case = {**AGGR_CASE, "slurm": {"timeout": 300}, "server_configs": [first, {**first, "name": "tp1_again"}]}
    (run.folder / "cases" / "alone.yaml").write_text(yaml.safe_dump(case))
    run.start(run.pytest_argv(f"--disagg-set={fault('SERVER_1', 'exit', exit_code=4)}"))
    assert run.end() == 1
    assert run.alive() == {}
    junit = assert_red(run, "functional", "BENCHMARK", "server 1 (tp1_again) ended with exit code 4")
    (record,) = (json.loads(line) for line in run.rundir.records.read_text().splitlines())
    assert record["l_repeat"] == 0
    assert any("median_ttft" in name for name in junit.properties)
