"""``python -m pytest_disagg.machine.clocks REQUEST``: lock the clocks of GPUs, and give them back at the end.

The end is a signal, or the end of standard input, a pipe that only the role holds that started this program: so clocks
are given back after ``kill -9`` of the role too. REQUEST is a file with a :class:`Lock`; what became of it is written
to ``Lock.answer`` once the clocks are locked, or could not be, and again when they were given back.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_disagg.machine.smi import read
from pytest_disagg.records.nvidia_smi import SmiError, run

FAILED = 1
RESETS = 2
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(frozen=True)
class Lock:
    """``command`` is nvidia-smi, or what calls it; ``uuids`` are the GPUs; clocks in MHz."""

    command: tuple[str, ...]
    uuids: tuple[str, ...]
    gpu_mhz: int
    memory_mhz: int | None
    timeout_s: float
    answer: Path

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> Lock:
        data = json.loads(text)
        lists = {name: tuple(data[name]) for name in ("command", "uuids")}
        return cls(**{**data, **lists, "answer": Path(data["answer"])})

    def argv(self, words: Sequence[str]) -> list[str]:
        return [*self.command, "-i", ",".join(self.uuids), *words]

    def set_words(self) -> list[list[str]]:
        """The arguments that lock: both bounds of a range are the same clock."""
        words = [["-lgc", f"{self.gpu_mhz},{self.gpu_mhz}"]]
        return words + ([["-lmc", f"{self.memory_mhz},{self.memory_mhz}"]] if self.memory_mhz else [])

    def reset_words(self) -> list[list[str]]:
        return [["-rgc"], *([["-rmc"]] if self.memory_mhz else [])]


def main(path: str) -> int:
    """Lock, wait for the end, give back; the exit code."""
    lock = Lock.from_json(Path(path).read_text(encoding="utf-8"))
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for number in _STOPS:
        # Noted, not obeyed: a command that is half done would be interrupted.
        signal.signal(number, lambda received, frame: None)
    error, touched = "", False
    try:
        for words in lock.set_words():
            print(run(lock.argv(words), lock.timeout_s).strip(), flush=True)
            touched = True
        _say(lock, {"locked": True, **_now(lock)})
        select.select([wake_read, sys.stdin.fileno()], [], [])
    except SmiError as problem:
        error = str(problem)
    # First of all: whoever ends this program may not wait for long.
    left = give_back(lock)
    if not touched:
        left = ""  # Whoever may not set clocks may not reset them either: there is nothing to reset.
    _say(lock, {"locked": False, "error": error, "not_given_back": left})
    return FAILED if error or left else 0


def give_back(lock: Lock) -> str:
    """Reset every clock that was set, all at once and once more where that failed; what could not be, in words."""
    with ThreadPoolExecutor(2) as pool:
        return "; ".join(filter(None, pool.map(lambda words: _reset(lock, words), lock.reset_words())))


def _reset(lock: Lock, words: Sequence[str]) -> str:
    said = ""
    for _ in range(RESETS):
        try:
            print(run(lock.argv(words), lock.timeout_s).strip(), flush=True)
        except SmiError as problem:
            said = str(problem)
        else:
            return ""
    return said


def _now(lock: Lock) -> dict[str, Any]:
    """The clocks that the GPUs have now; empty where they cannot be read."""
    try:
        gpus = [gpu for gpu in read(lock.timeout_s) or () if gpu.uuid in lock.uuids]
    except SmiError:
        return {}
    return {"sm_mhz": [gpu.sm_mhz for gpu in gpus], "memory_mhz": [gpu.memory_mhz for gpu in gpus]}


def _say(lock: Lock, answer: Mapping[str, Any]) -> None:
    """The run directory may be gone by now; the clocks matter more."""
    temporary = lock.answer.with_name(f"{lock.answer.name}.tmp")
    with contextlib.suppress(OSError):
        temporary.write_text(json.dumps(answer), encoding="utf-8")
        temporary.replace(lock.answer)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
