"""Stage ``prepare`` with real processes: models fetched, clocks locked and given back. nvidia-smi is a stand-in."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_disagg.machine.clocks import Lock
from pytest_disagg.models.request import FetchRequest
from pytest_disagg.roles.machine import ClockKeeper
from tests.pytester.conftest import DISAGG, make_project, properties, run_pytest
from tests.standins import nvidia_smi

LIMIT_S = 60.0
FILL = """\
import glob, pathlib, sys, time
calls, folder, logs, others = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
with calls.open("a") as file:
    file.write(folder.name + "\\n")

def waiting():
    return sum("waiting for" in pathlib.Path(log).read_text() for log in glob.glob(logs))

while waiting() < others and len(calls.read_text().splitlines()) == 1:
    time.sleep(0.02)
(folder / "config.json").write_text("{}")
"""
"""Fetches, once so many others wait for it (or do not, and fetch as well)."""
HANG = """\
import pathlib, sys, time
calls, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
(folder / "half").write_text("")
with calls.open("a") as file:
    file.write("begun\\n")
time.sleep(600)
"""
ROLE = """\
import sys, time
from pathlib import Path
from pytest_disagg.machine.clocks import Lock
from pytest_disagg.roles.machine import ClockKeeper
lock = Lock.from_json(Path(sys.argv[1]).read_text())
keeper = ClockKeeper(lock, Path(sys.argv[1]), Path(sys.argv[2]))
keeper.start("prepare")
while keeper.ended() is None:
    time.sleep(1)
"""
"""As a role starts it."""
GUARD = """\
import json, sys
from pathlib import Path
from pytest_disagg.process.child import Child
child = Child.start(json.loads(sys.argv[1]), name="role")
Path(sys.argv[2]).write_text(str(child.pid))
child.wait(300)
"""
"""What the plugin starts a role below."""
WRAPPER = """\
import json, subprocess, sys
from pathlib import Path
from pytest_disagg.wrapper.processes import PR_SET_CHILD_SUBREAPER, prctl_function, sweep
prctl_function()(PR_SET_CHILD_SUBREAPER, 1)
child = subprocess.Popen(json.loads(sys.argv[1]))
Path(sys.argv[2]).write_text(str(child.pid))
child.wait()
sweep({})
"""
"""What slurm_run does once its command is gone."""


def wait_until(done: Callable[[], bool], what: str) -> None:
    ends_at = time.monotonic() + LIMIT_S
    while not done():
        assert time.monotonic() < ends_at, f"waited {LIMIT_S:g} s for {what}"
        time.sleep(0.02)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def said(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.exists() else {}


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(*argv: str, cwd: Path | None = None, **env: str) -> subprocess.Popen[bytes]:
        started.append(
            subprocess.Popen([sys.executable, *argv], cwd=cwd, env={**os.environ, **env}, start_new_session=True)
        )
        return started[-1]

    yield begin
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_refused_lock_says_what_to_do(tmp_path: Path) -> None:
    asked = nvidia_smi.install(tmp_path / "bin", permitted=False)
    make_project(tmp_path / "project", case=f"{DISAGG}clocks: {{gpu_mhz: 1410}}\n")
    done = run_pytest(
        tmp_path / "project",
        "-p",
        "no:cacheprovider",
        "--junitxml=r.xml",
        PATH=nvidia_smi.path_with(tmp_path / "bin"),
    )
    assert done.code == 1
    (test,) = done.tests().values()
    assert properties(test)["disagg_kind"] == "infrastructure"
    failure = test.find("failure")
    assert failure is not None
    message = str(failure.get("message"))
    assert "failed in stage prepare: clocks: node " in message
    assert "The current user does not have permission to change clocks" in message
    assert "let sudo do it (clocks.command: [sudo, -n, nvidia-smi])" in message
    assert lines(asked) == []


@pytest.mark.parametrize("guard", [GUARD, WRAPPER], ids=["local", "slurm"])
def test_clocks_are_given_back_after_kill_9_of_their_role(
    tmp_path: Path, start: Callable[..., subprocess.Popen[bytes]], guard: str
) -> None:
    asked = nvidia_smi.install(tmp_path / "bin", [{}, {}])
    program = tmp_path / "bin/nvidia-smi"
    # Longer than what a guard leaves other processes.
    program.write_text(program.read_text().replace("exec ", 'case "$*" in *-r*) sleep 1.5;; esac\nexec '))
    uuids = ("GPU-00000000-stand-in", "GPU-00000001-stand-in")
    lock = Lock(("nvidia-smi",), uuids, 1410, 2619, 30.0, tmp_path / "answer.json")
    (tmp_path / "lock.json").write_text(lock.to_json())
    (tmp_path / "role.py").write_text(ROLE)
    role = [sys.executable, str(tmp_path / "role.py"), str(tmp_path / "lock.json"), str(tmp_path / "keeper.log")]
    path = nvidia_smi.path_with(tmp_path / "bin")
    outer = start("-c", guard, json.dumps(role), str(tmp_path / "pid"), PATH=path)
    wait_until(
        lambda: bool(said(lock.answer).get("locked")) and bool(lines(tmp_path / "pid")), "the clocks to be locked"
    )
    assert said(lock.answer)["sm_mhz"] == [1410, 1410]
    assert lines(asked)[-1] == f"{uuids[1]} -lmc 2619,2619"
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert outer.wait(LIMIT_S) == 0
    assert sorted(lines(asked)[4:]) == sorted(f"{uuid} {word}" for uuid in uuids for word in ("-rgc", "-rmc"))
    assert said(lock.answer) == {"locked": False, "error": "", "not_given_back": ""}


def below_a_launcher(folder: Path, start: Callable[..., subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """The first rank of a node that has no role of ours."""
    (folder / "run/logs").mkdir(parents=True)
    request = json.dumps({"command": ["nvidia-smi"], "gpu_mhz": 1410, "memory_mhz": None, "timeout_s": 30.0})
    environ = {"SLURM_PROCID": "4", "SLURM_LOCALID": "0", "SLURMD_NODENAME": "n2", "DISAGG_SERVING_TYPE": "GEN_0"}
    command = ("-c", "import pathlib, time; pathlib.Path('up').touch(); time.sleep(600)")
    return start(
        *("-m", "pytest_disagg.machine.holding", request, "--", sys.executable, *command),
        cwd=folder,
        PATH=nvidia_smi.path_with(folder / "bin"),
        DISAGG_RUN_DIR=str(folder / "run"),
        **environ,
    )


def test_a_rank_below_a_launcher_has_its_node_s_clocks_for_as_long_as_it_lives(
    tmp_path: Path, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    asked = nvidia_smi.install(tmp_path / "bin")
    rank = below_a_launcher(tmp_path, start)
    wait_until(lambda: (tmp_path / "up").exists(), "the rank's own command")
    assert lines(asked) == ["GPU-00000000-stand-in -lgc 1410,1410"]
    # What the keeper waits for the end of is held by what the rank has become.
    (keeper,) = psutil.Process(rank.pid).children()
    try:
        held = {str(each.readlink()) for each in Path(f"/proc/{rank.pid}/fd").iterdir()}
        assert str(Path(f"/proc/{keeper.pid}/fd/0").readlink()) in held
        rank.kill()
        wait_until(lambda: len(lines(asked)) == 2, "the clocks to be given back")
    finally:
        # In a session of its own: where it waits for the wrong thing, nobody else would end it.
        with contextlib.suppress(psutil.NoSuchProcess):
            keeper.kill()
    assert lines(asked)[1] == "GPU-00000000-stand-in -rgc"


def test_a_rank_whose_clocks_cannot_be_locked_does_not_start(
    tmp_path: Path, start: Callable[..., subprocess.Popen[bytes]], capfd: pytest.CaptureFixture[str]
) -> None:
    nvidia_smi.install(tmp_path / "bin", permitted=False)
    assert below_a_launcher(tmp_path, start).wait(LIMIT_S) == 1
    assert not (tmp_path / "up").exists()
    assert "clocks: node n2: nvidia-smi -i GPU-00000000-stand-in -lgc 1410,1410 ended with exit code 4" in (
        capfd.readouterr().err
    )


def test_a_keeper_that_is_killed_has_its_clocks_given_back_by_its_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = nvidia_smi.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", nvidia_smi.path_with(tmp_path / "bin"))
    lock = Lock(("nvidia-smi",), ("GPU-00000000-stand-in",), 1410, None, 30.0, tmp_path / "answer.json")
    keeper = ClockKeeper(lock, tmp_path / "lock.json", tmp_path / "keeper.log")
    keeper.start("prepare")
    try:
        wait_until(lambda: bool(said(lock.answer).get("locked")), "the clocks to be locked")
        assert keeper._process is not None
        keeper._process.kill()
        wait_until(lambda: keeper.ended() is not None, "the keeper to be gone")
        ended = keeper.ended()
        assert ended is not None
        error = keeper.died(ended, "measure")
        assert (error.kind, error.stage) == ("infrastructure", "measure")
        assert "the keeper of the GPU clocks ended before the run did: killed by SIGKILL" in str(error)
    finally:
        keeper.stop()
    assert lines(asked) == ["GPU-00000000-stand-in -lgc 1410,1410", "GPU-00000000-stand-in -rgc"]


def test_whoever_waits_goes_on_where_a_killed_fetch_ended(
    tmp_path: Path, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    calls = tmp_path / "calls"
    (tmp_path / "hang.py").write_text(HANG)
    (tmp_path / "fill.py").write_text(FILL)

    def request(name: str, who: str) -> FetchRequest:
        command = (sys.executable, str(tmp_path / f"{name}.py"), str(calls), "{folder}", "", "0")
        return FetchRequest(tmp_path / "models/m", who, "n1", tmp_path / f"{name}.answer", command=command)

    first, second = request("hang", "GEN_0 of run a"), request("fill", "GEN_0 of run b")
    for asked in (first, second):
        asked.result.with_suffix(".json").write_text(asked.to_json())
    holder = start("-m", "pytest_disagg.models.fetch", str(first.result.with_suffix(".json")))
    wait_until(lambda: lines(calls) == ["begun"], "the first fetch to begin")
    log = tmp_path / "second.log"
    with log.open("wb") as output:
        argv = [sys.executable, "-m", "pytest_disagg.models.fetch", str(second.result.with_suffix(".json"))]
        waiting = subprocess.Popen(argv, stdout=output, start_new_session=True)
    try:
        wait_until(lambda: "waiting for GEN_0 of run a" in log.read_text(), "the second fetch to wait")
        assert waiting.poll() is None
        os.killpg(holder.pid, signal.SIGKILL)
        assert waiting.wait(LIMIT_S) == 0
    finally:
        waiting.kill()
        waiting.wait()
    assert said(second.result)["fetched"] is True
    assert sorted(path.name for path in second.target.iterdir()) == [".disagg-model.json", "config.json"]
    assert replace(first, result=second.result).target == second.target
