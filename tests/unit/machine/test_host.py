"""How much of a host's CPU time is not this run's."""

from __future__ import annotations

import os

import pytest

from pytest_disagg.machine.host import HostLook, between, look
from pytest_disagg.machine.processes import RunProcesses, told

KEY = (1, 0.0)


@pytest.fixture(autouse=True)
def _four_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)


def test_the_share_of_others() -> None:
    load = between(HostLook(100, 50, {KEY: 10}), HostLook(140, 70, {KEY: 12, (2, 0.0): 3}))
    assert load is not None
    # 20 of 40 CPU seconds were busy; of these 2 + 3 were this run's.
    assert (load.cpus, load.seconds, load.others, load.run) == (4, 10, 15 / 40, 5 / 40)
    assert "others than this run had 38% of its 4 CPUs in the 10.0 s before the load, this run 12%" in load.words()


def test_what_a_run_used_is_never_more_than_what_was_used() -> None:
    load = between(HostLook(100, 50, {}), HostLook(140, 55, {KEY: 100}))
    assert load is not None
    assert (load.others, load.run) == (0, 5 / 40)


def test_two_looks_close_to_each_other_say_nothing() -> None:
    assert between(HostLook(100, 50, {}), HostLook(100.5, 50.5, {})) is None


def test_a_look_has_this_process_and_its_own_time() -> None:
    seen = look(RunProcesses("no-such-run"))
    assert os.getpid() in {pid for pid, _ in seen.ours}
    assert 0 < seen.busy_s <= seen.counted_s


def test_processes_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = next(iter(os.environ.items()))
    monkeypatch.setattr("pytest_disagg.machine.processes.RUN_VARIABLE", mark[0])
    # By environment alone: process 1 is no descendant of this one.
    assert RunProcesses(mark[1])._marked(os.getpid()) == (f"{mark[0]}={mark[1]}".encode() in _environ())
    assert RunProcesses("x").has(os.getpid())
    assert not RunProcesses("no-such-run").has(1)
    assert not RunProcesses("no-such-run").has(2**22 + 1)


def _environ() -> list[bytes]:
    with open("/proc/self/environ", "rb") as file:  # noqa: PTH123
        return file.read().split(b"\0")


def test_a_process_in_words() -> None:
    assert told(os.getpid(), "/usr/bin/python3").startswith(f"python3 (pid {os.getpid()} of ")
    assert told(2**22 + 1, "") == f"a process (pid {2**22 + 1})"
