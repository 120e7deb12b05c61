"""This machine and this process, as /proc has them."""

from __future__ import annotations

import os
import resource
import subprocess
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pytest_disagg.telemetry import host as host_module
from pytest_disagg.telemetry.host import REFRESH, HostSampler, ProcessSampler, descendants

Times = namedtuple("Times", "user system idle iowait guest guest_nice")
Net = namedtuple("Net", "bytes_recv bytes_sent")


def ticks(*moments: float) -> Callable[[], float]:
    left = iter(moments)
    return lambda: next(left)


def test_a_rate_covers_the_time_since_the_sample_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cpu = iter([Times(100, 50, 800, 50, 20, 0), Times(103, 51, 805, 51, 22, 0)])
    net = iter([{"lo": Net(9, 9), "eth0": Net(0, 5 << 20)}, {"lo": Net(99 << 20, 9), "eth0": Net(4 << 20, 5 << 20)}])
    monkeypatch.setattr(psutil, "cpu_times", lambda: next(cpu))
    monkeypatch.setattr(psutil, "net_io_counters", lambda pernic: next(net))
    host = HostSampler(clock=ticks(10.0, 12.0), devices=tmp_path)
    ((first,), (second,)) = host.sample(), host.sample()
    assert not {"cpu_percent", "received_mib_per_s", "sent_mib_per_s"} & set(first.values)
    # Busy 3 + 1 of 3 + 1 + 5 + 1 seconds: the guest's 2 are part of the user's 3.
    assert second.values["cpu_percent"] == 40.0
    assert second.values["received_mib_per_s"] == 2.0
    assert second.values["sent_mib_per_s"] == 0.0


def test_what_a_bond_or_a_bridge_passes_on_counts_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("eth0", "eth1"):
        (tmp_path / name / "device").mkdir(parents=True)
    counts = {"lo": Net(0, 0), "eth0": Net(1 << 20, 0), "eth1": Net(2 << 20, 0), "bond0": Net(3 << 20, 0)}
    net = iter([dict.fromkeys(counts, Net(0, 0)), counts])
    monkeypatch.setattr(psutil, "net_io_counters", lambda pernic: next(net))
    host = HostSampler(clock=ticks(1.0, 2.0), devices=tmp_path)
    host.sample()
    (reading,) = host.sample()
    assert reading.values["received_mib_per_s"] == 3.0


def test_this_machine_has_all_values() -> None:
    host = HostSampler()
    (reading,) = host.sample()
    memory = psutil.virtual_memory()
    assert 0 < reading.values["memory_used_mib"] < memory.total / (1 << 20)
    assert 0 < reading.values["memory_percent"] < 100
    assert reading.values["load_1min"] >= 0


def test_this_process_has_its_open_files_and_its_limit(tmp_path: Path) -> None:
    sampler = ProcessSampler([os.getpid()], children=False, clock=ticks(1.0, 2.0))
    (before,) = sampler.sample()
    files = [(tmp_path / str(number)).open("w") for number in range(50)]
    try:
        (after,) = sampler.sample()
    finally:
        for file in files:
            file.close()
    assert after.values["open_files"] - before.values["open_files"] == 50
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert after.values["open_files_ratio"] == pytest.approx(after.values["open_files"] / soft, abs=1e-4)
    assert after.values["processes"] == 1
    assert after.values["rss_mib"] > 1
    assert "cpu_percent" not in before.values


def test_cpu_of_a_process_is_in_percent_of_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    spent = iter([(1.0, 0.5), (2.0, 1.0)])
    monkeypatch.setattr(psutil.Process, "cpu_times", lambda self: Times(*next(spent), 0, 0, 0, 0))
    sampler = ProcessSampler([os.getpid()], children=False, clock=ticks(10.0, 12.0))
    sampler.sample()
    ((reading),) = sampler.sample()
    assert reading.values["cpu_percent"] == 75.0


def test_processes_that_are_gone_are_no_zero() -> None:
    assert list(ProcessSampler([2**22 + 1]).sample()) == []


def test_processes_that_a_server_starts_later_are_found_and_bring_no_past(monkeypatch: pytest.MonkeyPatch) -> None:
    own, tree = os.getpid(), [os.getpid()]
    spent = {own: 1.0}
    monkeypatch.setattr(host_module, "descendants", lambda roots: list(tree))
    monkeypatch.setattr(psutil.Process, "cpu_times", lambda self: Times(spent.get(self.pid, 1000.0), 0, 0, 0, 0, 0))
    sampler = ProcessSampler([own], clock=ticks(*range(REFRESH + 2)))
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as later:
        before = [reading.values["processes"] for _ in range(REFRESH) for reading in sampler.sample()]
        tree.append(later.pid)
        (after,) = sampler.sample()
    assert before == [1] * REFRESH
    assert after.values["processes"] == 2
    assert after.values["cpu_percent"] == 0


def test_descendants_are_found_below_every_thread(tmp_path: Path) -> None:
    tree = {"10/task/10": "11 12 ", "10/task/15": "13", "11/task/11": "14", "12/task/12": "", "13/task/13": "10"}
    for folder, text in tree.items():
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "children").write_text(text)
    assert sorted(descendants([10], tmp_path)) == [10, 11, 12, 13, 14]
    assert descendants([99], tmp_path) == [99]
