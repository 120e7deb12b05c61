"""Load generators that are programs of their own, by a stand-in for one of them: started, watched, ended, measured."""

from __future__ import annotations

import os
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import yaml

from pytest_disagg.clients.protocol import LoadPoint, LoadProgress
from pytest_disagg.clients.tool import run
from pytest_disagg.clients.vllm_bench import VllmBench
from pytest_disagg.errors import RunError
from pytest_disagg.rundir.layout import RunDir
from tests.local.sim.conftest import Cluster, fault
from tests.pytester.conftest import make_project, run_pytest
from tests.waiting import until

STAND_IN = Path(__file__).resolve().parents[2] / "standins" / "vllm_bench.py"
ANSWERS_NOTHING = "http://127.0.0.1:9"
CASE = {
    "engine": "sim",
    "cases": ["aggr"],
    "metadata": {"model_name": "sim-model"},
    "hardware": {"gpus_per_node": 1},
    "server_configs": [
        {
            "name": "one",
            "client_configs": [{"name": "con2", "concurrency": 2, "iterations": 6, "isl": 32, "osl": 8}],
        }
    ],
    "timeouts": {"launch_s": 60, "ready_s": 60, "probe_s": 60, "stall_s": 50, "store_s": 60, "grace_s": 10},
    # A machine that is busy with other tests must not make a fast load invalid.
    "gate": {"min_concurrency_ratio": 0.1},
}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The stand-in as a program."""
    path = tmp_path / "vllm"
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(STAND_IN))} "$@"\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def client(program: Path, monkeypatch: pytest.MonkeyPatch) -> VllmBench:
    monkeypatch.setenv("DISAGG_VLLM_BENCH", str(program))
    return VllmBench()


@pytest.fixture
def point(tmp_path: Path) -> LoadPoint:
    (tmp_path / "model").mkdir()
    files, tokenizer = tmp_path / "files", str(tmp_path / "model")
    return LoadPoint(2, 6, 8, 4, "tiny", tokenizer=tokenizer, files=files, timeout_s=600)


def test_a_load(client: VllmBench, point: LoadPoint, cluster: Cluster) -> None:
    server = cluster.server("server")
    seen: list[LoadProgress] = []
    for number in ("", ".1"):
        result = client.measure(server.url, point, 0, on_progress=seen.append)
        folder = Path(f"{point.files}/vllm_bench{number}")
        assert {path.name for path in folder.iterdir()} == {"command.txt", "vllm_bench.log", "result.json"}
        typed = shlex.split((folder / "command.txt").read_text())
        assert typed[:3] == [os.environ["DISAGG_VLLM_BENCH"], "bench", "serve"]
        assert typed[-2:] == ["--result-filename", "result.json"]
    assert [(each.ok, each.output_tokens, each.asked_tokens) for each in result.samples] == [(True, 4, 4)] * 6
    assert (result.tool, result.max_in_flight, result.health) == ("vllm_bench", 2, None)
    assert result.tool_version == "unknown"  # the stand-in lies in no environment
    assert 0 < result.achieved_concurrency <= 2
    assert any("cannot tell whether it kept up" in note for note in result.notes)
    assert not seen[-1].starting


def test_a_sites_proxy_is_not_asked_for_the_deployment(client: VllmBench, point: LoadPoint, cluster: Cluster) -> None:
    server = cluster.server("server")
    result = client.measure(server.url, replace(point, env={"http_proxy": ANSWERS_NOTHING}), 0)
    assert all(each.ok for each in result.samples)


def test_the_warm_up_and_the_probe_start_no_program(client: VllmBench, point: LoadPoint, cluster: Cluster) -> None:
    server = cluster.server("server")
    assert client.measure(server.url, point, -1).tool == "native"
    assert client.probe(server.url, point).ok
    assert point.files is not None
    assert not point.files.exists()


def test_a_program_that_fails_says_why_in_the_first_line(client: VllmBench, point: LoadPoint) -> None:
    with pytest.raises(RunError) as failed:
        client.measure(ANSWERS_NOTHING, replace(point, env={"STANDIN_END": "exit"}), 0)
    assert failed.value.message == "vllm_bench ended with exit code 3: ValueError: the stand-in was told to fail"
    assert (failed.value.kind, failed.value.exit_code) == ("infrastructure", 3)
    assert failed.value.evidence[1] == "stand-in vllm bench serve: no vLLM here"


def test_a_program_that_fails_because_all_requests_did_leaves_that_to_the_gate(
    client: VllmBench, point: LoadPoint, cluster: Cluster
) -> None:
    ending = replace(point, env={"STANDIN_END": "after"})
    failing = cluster.server("server", faults=fault("fail_requests"))
    samples = client.measure(failing.url, ending, 0).samples
    assert [each.error for each in samples] == ["HTTP 500: SERVER_0 failed this request: fault fail_requests"] * 6
    sound = cluster.server("server", "SERVER_1")
    with pytest.raises(RunError, match="exit code 1: stand-in vllm bench serve: not content with its result"):
        client.measure(sound.url, ending, 0)


def test_a_word_that_it_does_not_know(client: VllmBench, point: LoadPoint) -> None:
    with pytest.raises(RunError, match=r"exit code 2: stand-in .*: error: unrecognized arguments: --request-rate 5"):
        client.measure(ANSWERS_NOTHING, replace(point, request_rate=5.0), 0)


def test_a_program_that_leaves_no_result(client: VllmBench, point: LoadPoint) -> None:
    with pytest.raises(RunError) as failed:
        client.measure(ANSWERS_NOTHING, replace(point, env={"STANDIN_END": "nothing"}), 0)
    expected = "vllm_bench ended well but left no result that can be used: result.json: no such file"
    assert failed.value.message == expected
    assert "last 2 lines of vllm_bench's vllm_bench.log:" in failed.value.evidence


def test_the_reason_to_stop_ends_all_of_it(client: VllmBench, point: LoadPoint, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    seen: list[LoadProgress] = []
    hanging = replace(point, env={"STANDIN_END": "hang", "STANDIN_PID": str(pid_file)})
    with pytest.raises(RunError, match="GEN_0 is gone") as failed:
        client.measure(
            ANSWERS_NOTHING,
            hanging,
            0,
            on_progress=seen.append,
            should_stop=lambda: "GEN_0 is gone" if pid_file.exists() and seen[-1].completed else None,
        )
    assert failed.value.kind == "functional"
    assert (seen[-1].completed, seen[-1].in_flight, seen[-1].starting) == (3, 2, False)
    until(lambda: not psutil.pid_exists(int(pid_file.read_text())), "the stand-in's own child to be gone")


@pytest.mark.parametrize(
    ("end", "completed", "seen"), [("late", 0, "before its load began; "), ("hang", 3, "after 3 of 6 requests; ")]
)
def test_the_time_limit(
    client: VllmBench,
    point: LoadPoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    end: str,
    completed: int,
    seen: str,
) -> None:
    hanging = replace(point, timeout_s=600, env={"STANDIN_END": end, "STANDIN_PID": str(tmp_path / "pid")})
    passed_s = 0.0

    def time_passes(progress: LoadProgress) -> None:
        nonlocal passed_s
        passed_s = 601.0 if progress.completed == completed else 0.0

    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + passed_s))
    with pytest.raises(RunError, match=rf"within 600 s \(timeouts\.measure_s\), stopped {seen}last seen: "):
        client.measure(ANSWERS_NOTHING, hanging, 0, on_progress=time_passes)


def test_what_a_callback_raises_ends_it(client: VllmBench, point: LoadPoint, tmp_path: Path) -> None:
    def program() -> list[psutil.Process]:
        every = psutil.process_iter(["cmdline"])
        return [each for each in every if any(str(tmp_path) in word for word in each.info["cmdline"] or ())]

    def stop() -> str | None:
        assert program()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.measure(ANSWERS_NOTHING, replace(point, env={"STANDIN_END": "late"}), 0, should_stop=stop)
    assert not program()


def test_a_case(program: Path, tmp_path: Path) -> None:
    """Through all roles' stages: its records, its gate, its version, its files."""
    folder = tmp_path / "project"
    model = tmp_path / "models" / "sim-model"
    model.mkdir(parents=True)
    make_project(folder, case=yaml.safe_dump(CASE, sort_keys=False))
    finished = run_pytest(
        folder,
        "-p",
        "no:cacheprovider",
        "--junitxml=r.xml",
        "--disagg-work-dir=runs",
        "--disagg-client=vllm_bench",
        f"--disagg-models-root={model.parent}",
        DISAGG_RUN_ID="r",
        DISAGG_VLLM_BENCH=str(program),
    )
    assert finished.code == 0, finished.out
    rundir = RunDir.of(folder / "runs", "r", "aggr-case")
    (record,) = [yaml.safe_load(line) for line in rundir.records.read_text().splitlines()]
    assert (record["s_client_tool"], record["b_is_valid"]) == ("vllm_bench", True)
    assert record["d_total_output_tokens"] == 96.0
    assert "stand-in" in (rundir.logs / "client" / "con2.r0" / "vllm_bench" / "vllm_bench.log").read_text()
