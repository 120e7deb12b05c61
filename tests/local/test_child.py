from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pytest_disagg.errors import DisaggError
from pytest_disagg.process.child import Child
from tests.waiting import LIMIT_S, gone, pids_in, until, until_gone


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


# A child that starts one process in its own group and one in a session of its own, and says their pids.
FAMILY = """
import subprocess, sys, time
sleep = [sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"]
first, second = subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)
print(first.pid, second.pid, flush=True)
{then}
"""


@pytest.mark.parametrize("then", ["", "raise SystemExit(5)", "import os; os.kill(os.getpid(), 9)"])
def test_nothing_outlives_a_child_that_ended_by_itself(tmp_path: Path, then: str) -> None:
    log = tmp_path / "log"
    child = Child.start(python(FAMILY.format(then=then)), name="x", log=log)
    assert child.wait(LIMIT_S) is not None
    assert all(gone(pid) for pid in pids_in(log, 2))


def test_stop_ends_the_whole_family(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = Child.start(python(FAMILY.format(then="time.sleep(600)")), name="x", log=log, grace_s=0.2)
    pids = pids_in(log, 2)
    child.stop()
    assert all(gone(pid) for pid in [child.pid, *pids])


def test_a_child_that_ignores_term_is_killed_after_the_grace() -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    child = Child.start(python(code), name="x", grace_s=0.2)
    until(lambda: signal.SIGTERM - 1 in _ignored(child.pid), "TERM to be ignored")
    ended = child.stop()
    assert (ended.signal, ended.exit_code) == ("SIGKILL", None)
    assert "SIGTERM" in ended.reason


def _ignored(pid: int) -> set[int]:
    mask = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigIgn"))
    return {bit for bit in range(64) if int(mask.split()[1], 16) >> bit & 1}


def test_exit_code_and_signal_reach_the_exit_file(tmp_path: Path) -> None:
    path = tmp_path / "exit.json"
    ended = Child.start(python("raise SystemExit(7)"), name="GEN_0", exit_file=path).wait(LIMIT_S)
    assert ended is not None
    assert (ended.exit_code, ended.signal, str(ended)) == (7, None, "exit code 7")
    assert json.loads(path.read_text()) == {"role": "GEN_0", "exit_code": 7, "signal": None, "reason": ""}
    ended = Child.start(python("import os; os.kill(os.getpid(), 11)"), name="GEN_0", exit_file=path).wait(LIMIT_S)
    assert ended is not None
    assert ended.signal == "SIGSEGV"
    assert json.loads(path.read_text())["signal"] == "SIGSEGV"


def test_a_program_that_cannot_be_started_is_named() -> None:
    with pytest.raises(DisaggError, match=r"GEN_0: cannot start 'no-such-program': .*No such file"):
        Child.start(["no-such-program"], name="GEN_0")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_parent_that_is_killed_takes_the_family_with_it(tmp_path: Path, number: int) -> None:
    log = tmp_path / "log"
    code = f"""
import time
from pathlib import Path
from pytest_disagg.process.child import Child
child = Child.start({python(FAMILY.format(then="time.sleep(600)"))!r}, name="x", log=Path({str(log)!r}), grace_s=0.2)
print(child.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen(python(code), stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        pids = pids_in(log, 2)
        os.kill(parent.pid, number)
    until_gone([child, *pids])


def test_a_killed_guard_takes_its_child_with_it() -> None:
    child = Child.start(python("import time; time.sleep(600)"), name="x")
    os.kill(psutil.Process(child.pid).ppid(), signal.SIGKILL)
    ended = child.wait(LIMIT_S)
    assert ended is not None
    assert "guard was killed" in str(ended)
    until_gone([child.pid])


def test_a_log_keeps_its_head_and_its_tail(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = "for i in range(20000): print(f'line {i:06}')"
    ended = Child.start(python(code), name="x", log=log, log_head_bytes=1000, log_tail_bytes=10_000).wait(LIMIT_S)
    assert ended is not None
    lines = log.read_text().splitlines()
    assert lines[0] == "line 000000"
    assert lines[-1] == "line 019999"
    assert sum("left out: log capped" in line for line in lines) == 1
    assert log.stat().st_size <= 1000 + 2 * 10_000 + 100
    assert not (tmp_path / "log.tmp").exists()


def test_awkward_arguments_arrive_as_they_are(tmp_path: Path) -> None:
    words = ["a 0", "a'; echo foo", "a\n0", '"$HOME"', "", "é"]
    log = tmp_path / "log"
    child = Child.start([*python("import sys; print(sys.argv[1:])"), *words], name="x", log=log)
    assert child.wait(LIMIT_S) is not None
    assert log.read_text().strip() == repr(words)


def test_the_log_of_a_child_holds_no_secret(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "print('value', os.environ['HF_TOKEN'])\n"
        "sys.stdout.write('api_key=abcd'); sys.stdout.flush()\n"
        "sys.stdout.write('efgh1234\\n'); sys.stdout.flush()\n"
        "sys.stdout.buffer.write(b'url http://me:hunter22@host/ \\xff\\n')\n"
        "sys.stdout.write('no end: secret=tail5678')\n"
    )
    log = tmp_path / "log"
    child = Child.start(python(code), name="x", log=log, env={**os.environ, "HF_TOKEN": "not-a-known-shape"})
    assert child.wait(LIMIT_S) is not None
    text = log.read_bytes()
    assert text.splitlines() == [b"value ***", b"api_key=***", b"url http://***@host/ \xff", b"no end: secret=***"]


def test_the_last_words_of_a_child_are_logged_when_its_exit_file_is_there(tmp_path: Path) -> None:
    # A descendant keeps the pipe open and ignores TERM, so the guard is not done when the exit file is.
    code = FAMILY.format(then="sys.stdout.write('last words'); sys.stdout.flush(); import os; os._exit(3)")
    log, exit_file = tmp_path / "log", tmp_path / "exit.json"
    child = Child.start(python(code), name="x", log=log, exit_file=exit_file)
    until(exit_file.exists, "the exit file")
    assert log.read_text().endswith("last words")
    assert child.wait(LIMIT_S) is not None


def test_a_log_that_cannot_be_written_costs_output_and_not_the_child() -> None:
    code = "for i in range(1000): print('x' * 1000)\nprint('end', flush=True)\nraise SystemExit(7)"
    child = Child.start(python(code), name="x", log=Path("/dev/full"))
    ended = child.wait(LIMIT_S)
    assert ended is not None
    assert ended.exit_code == 7
