"""However a task ends, it says so, and nothing that it started is left."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tests.local.wrapper.conftest import Programs, ended
from tests.waiting import gone, pids_in, until, until_gone

FAMILY = """
import signal, subprocess, sys, time
sleep = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"]
daemon = [sys.executable, "-c", "import subprocess; print(subprocess.Popen(" + repr(sleep) + ", stdout=-3).pid)"]
pids = [subprocess.Popen(sleep).pid, subprocess.Popen(sleep, start_new_session=True).pid]
pids.append(int(subprocess.run(daemon, stdout=subprocess.PIPE, start_new_session=True).stdout))
open({path!r}, "w").write(" ".join(map(str, pids)))
{then}
"""
"""A command with a child, a child in a session of its own, and a grandchild whose parent is gone."""


def family(path: Path, then: str = "time.sleep(600)") -> str:
    return shlex.join([sys.executable, "-c", FAMILY.format(path=str(path), then=then)])


@pytest.fixture
def role(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "run").mkdir()
    return {
        "DISAGG_RUN_DIR": str(tmp_path / "run"),
        "DISAGG_SERVING_TYPE": "CTX_0",
        "DISAGG_STOP_GRACE_S": "0.3",
        "SLURM_JOB_ID": "7",
    }


def said(tmp_path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((tmp_path / "run" / "roles" / "CTX_0.exit.json").read_text())
    return found


@pytest.mark.parametrize(
    ("then", "code"), [("", 0), ("raise SystemExit(5)", 5), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_a_command_that_ended_by_itself_leaves_nothing(
    programs: Programs, tmp_path: Path, role: dict[str, str], then: str, code: int
) -> None:
    found, output = programs.slurm_run(family(tmp_path / "pids", then), **role)
    assert found == code, output
    assert all(gone(pid) for pid in pids_in(tmp_path / "pids", 3))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_reaches_the_command_and_is_its_end(
    programs: Programs, tmp_path: Path, role: dict[str, str], number: signal.Signals
) -> None:
    task = programs.start("slurm_run", pytestCommand=family(tmp_path / "pids"), **role)
    pids = pids_in(tmp_path / "pids", 3)
    task.send_signal(number)
    code, output = ended(task)
    assert code == 128 + number, output
    assert said(tmp_path)["reason"] == f"stopped by {number.name}"
    assert all(gone(pid) for pid in pids)


def test_a_command_that_ignores_term_is_killed_after_the_grace(
    programs: Programs, tmp_path: Path, role: dict[str, str]
) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open('up', 'w'); time.sleep(600)"
    task = programs.start("slurm_run", pytestCommand=shlex.join([sys.executable, "-c", code]), **role)
    until((programs.folder / "up").exists, "the command to run")
    task.send_signal(signal.SIGTERM)
    assert ended(task)[0] == 137
    assert said(tmp_path) == {"role": "CTX_0", "exit_code": None, "signal": "SIGKILL", "reason": "stopped by SIGTERM"}


def test_a_command_may_use_the_grace_to_end_well(programs: Programs, tmp_path: Path, role: dict[str, str]) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))\n"
        "open('up', 'w')\n"
        "time.sleep(600)\n"
    )
    role["DISAGG_STOP_GRACE_S"] = "30"
    task = programs.start("slurm_run", pytestCommand=shlex.join([sys.executable, "-c", code]), **role)
    until((programs.folder / "up").exists, "the command to run")
    task.send_signal(signal.SIGTERM)
    assert ended(task)[0] == 9
    assert said(tmp_path)["exit_code"] == 9


def test_term_after_the_outcome_is_how_a_server_is_stopped(
    programs: Programs, tmp_path: Path, role: dict[str, str]
) -> None:
    role["DISAGG_STOP_GRACE_S"] = "30"
    task = programs.start(
        "slurm_run", pytestCommand=f"sh -c 'touch up; exec sleep 600' --junitxml={tmp_path}/r.xml", **role
    )
    until((programs.folder / "up").exists, "the command to run")
    (tmp_path / "run" / "outcome.json").write_text("{}")
    task.send_signal(signal.SIGTERM)
    code, output = ended(task)
    assert code == 0, output
    assert said(tmp_path)["signal"] == "SIGTERM"
    assert not list(tmp_path.glob("*.xml"))


def test_a_signal_before_the_command_is_said_too(programs: Programs, tmp_path: Path, role: dict[str, str]) -> None:
    command = f"true --junitxml={tmp_path}/r.xml"
    env = {**role, "jobWorkspace": str(tmp_path)}
    task = programs.start("slurm_run", task="0/2", pytestCommand=command, **env)
    until(lambda: bool(list(tmp_path.glob("run_ready_*/rank_0.json"))), "rank 0 to be there")
    task.send_signal(signal.SIGTERM)
    assert ended(task)[0] == 143
    assert said(tmp_path)["signal"] == "SIGTERM"
    assert "stopped by SIGTERM before its command was done" in (tmp_path / "r.CTX_0.xml").read_text()


def test_a_killed_outer_process_takes_everything_with_it(
    programs: Programs, tmp_path: Path, role: dict[str, str]
) -> None:
    task = programs.start("slurm_run", pytestCommand=family(tmp_path / "pids"), **role)
    pids = pids_in(tmp_path / "pids", 3)
    pids += [child.pid for child in psutil.Process(task.pid).children(recursive=True)]
    task.kill()
    until_gone(pids)
    assert said(tmp_path)["reason"] == "stopped by SIGTERM"


def test_a_killed_inner_process_takes_everything_with_it_and_is_reported(
    programs: Programs, tmp_path: Path, role: dict[str, str]
) -> None:
    command = f"{family(tmp_path / 'pids')} --junitxml={tmp_path}/r.xml"
    task = programs.start("slurm_run", pytestCommand=command, **role)
    pids = pids_in(tmp_path / "pids", 3)
    children = psutil.Process(task.pid).children()
    os.kill(children[0].pid, signal.SIGKILL)
    assert ended(task)[0] == 137
    assert all(gone(pid) for pid in pids)
    assert said(tmp_path)["reason"] == "slurm_run itself was killed"
    assert "slurm_run itself was killed" in (tmp_path / "r.CTX_0.xml").read_text()


def test_the_exit_file_is_there_before_the_leftovers_are_swept(
    programs: Programs, tmp_path: Path, role: dict[str, str]
) -> None:
    """A leftover that ignores TERM holds the sweep up for a second; it looks whether the file is there meanwhile."""
    path = tmp_path / "run" / "roles" / "CTX_0.exit.json"
    stubborn = (
        "import os, signal\n"
        f"signal.signal(signal.SIGTERM, lambda *_: open({str(tmp_path / 'seen')!r}, 'w')"
        f".write(str(os.path.exists({str(path)!r}))))\n"
        f"open({str(tmp_path / 'up')!r}, 'w').close()\n"
        "while True: signal.pause()\n"
    )
    leave = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {stubborn!r}], start_new_session=True)\n"
        f"while not os.path.exists({str(tmp_path / 'up')!r}): time.sleep(0.01)\n"
    )
    assert programs.slurm_run(shlex.join([sys.executable, "-c", leave]), **role)[0] == 0
    assert (tmp_path / "seen").read_text() == "True"
