"""Evidence of a stall: where this process and its servers stand."""

from __future__ import annotations

import faulthandler
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import psutil

from pytest_disagg.redact import redact

PY_SPY_TIMEOUT_S = 5.0


def dump_stacks(path: Path, pids: Iterable[int]) -> None:
    """Write Python stacks of this process, then of each process below ``pids`` what py-spy and ``/proc`` tell."""
    with path.open("w", encoding="utf-8") as file:
        file.write("== this process\n")
        file.flush()
        faulthandler.dump_traceback(file=file, all_threads=True)
        for pid in pids:
            for process in _tree(pid):
                file.write(f"\n== {process.pid} {_name(process)}\n{_kernel(process.pid)}\n{_py_spy(process.pid)}\n")


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _name(process: psutil.Process) -> str:
    try:
        return f"{redact(' '.join(process.cmdline()[:4]))} ({process.status()}, {process.num_threads()} threads)"
    except psutil.Error as error:
        return f"gone: {error}"


def _kernel(pid: int) -> str:
    lines = []
    for name in ("wchan", "stack"):
        try:
            lines.append(f"{name}: {Path('/proc', str(pid), name).read_text(encoding='utf-8').strip()}")
        except OSError as error:
            lines.append(f"{name}: {error.strerror}")
    return "\n".join(lines)


def _py_spy(pid: int) -> str:
    program = shutil.which("py-spy")
    if program is None:
        return "py-spy: not installed"
    try:
        done = subprocess.run(
            [program, "dump", "--pid", str(pid)], capture_output=True, text=True, timeout=PY_SPY_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"py-spy: {error}"
    return redact(done.stdout or f"py-spy: {done.stderr.strip()}")
