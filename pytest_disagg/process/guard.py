"""Stands between a parent and one child process, and leaves nothing behind: ``python -I guard.py '<json spec>'``.

The guard is a child subreaper: whatever the child starts, in whatever session, ends up below the guard when its own
parent dies, and is killed when the child is gone. The guard ends the child when its own parent is gone (its standard
input, a pipe that only the parent holds, reaches its end), so ``kill -9`` of any process of the chain leaves nothing.

It is a script of its own, standard library only, and is never imported by the process that starts it: it must be up
in milliseconds. Reports on standard output, one JSON object a line: ``{"pid": n}`` or ``{"error": text}``, then
``{"exit_code": n | null, "signal": name | null, "reason": text}``.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LEFTOVER_GRACE_S = 1.0
GIVES_BACK = "DISAGG_GIVES_BACK"
"""In the environment of a process that undoes something on its node when it ends (GPU clocks): it gets more time."""
GIVE_BACK_S = 15.0
MAX_LINE_BYTES = 1 << 16
LAST_WORDS_BYTES = 1 << 20


def prctl(option: int, value: int) -> None:
    """Ask the kernel; a kernel that refuses is no reason to refuse the run (the liveness pipe still works)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


class CappedLog:
    """A log file that never grows beyond head + 2 x tail bytes: its beginning and its end are kept.

    Whole lines are written, each batch through ``redact``. A file that cannot be written (a full disk) loses output,
    never the child: ``lost`` counts the bytes.
    """

    def __init__(self, path: str, head: int, tail: int, redact: Callable[[str], str]) -> None:
        self.path, self.head, self.tail, self.redact = path, head, tail, redact
        self.dropped = self.lost = 0
        self.rest = b""
        self.file = open(path, "ab", buffering=0)  # noqa: SIM115
        self.size = self.file.tell()

    def write(self, data: bytes) -> None:
        data = self.rest + data
        # A progress bar ends its lines with a carriage return.
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        if len(data) - end > MAX_LINE_BYTES:
            end = len(data)
        self.rest = data[end:]
        if end:
            self.put(data[:end])

    def finish(self) -> None:
        """Write a last line that has no end."""
        if self.rest:
            self.put(self.rest)
            self.rest = b""

    def put(self, data: bytes) -> None:
        data = self.redact(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        try:
            if self.lost:
                note = b"[... %d bytes lost: the log could not be written ...]\n" % self.lost
                self.size += self.file.write(note) or 0
                self.lost = 0
            self.size += self.file.write(data) or 0
            if self.size > self.head + 2 * self.tail:
                self.compact()
        except OSError:
            self.lost += len(data)

    def compact(self) -> None:
        temporary = self.path + ".tmp"
        with open(self.path, "rb") as old, open(temporary, "wb") as new:
            new.write(old.read(self.head))
            left_out = self.size - self.head - self.tail
            self.dropped += left_out
            new.write(b"\n[... %d bytes left out: log capped ...]\n" % self.dropped)
            old.seek(-self.tail, os.SEEK_END)
            new.write(old.read())
        os.replace(temporary, self.path)
        self.file.close()
        self.file = open(self.path, "ab", buffering=0)  # noqa: SIM115
        self.size = self.file.tell()


def descendants(root: int) -> list[int]:
    """Process ids below ``root``, children before grandchildren."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as stat:
                    fields = stat.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] != b"Z":
                parents.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    todo = [root]
    while todo:
        for pid in parents.get(todo.pop(), ()):
            found.append(pid)
            todo.append(pid)
    return found


def has_child() -> bool:
    """Whether this process has any child. A subreaper without one has no descendant either: /proc need not be read."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def gives_back(pid: int) -> bool:
    """Whether a process says that it must not be killed before it has undone what it did to its node."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:
            return f"{GIVES_BACK}=1".encode() in environ.read().split(b"\0")
    except OSError:
        return False


def send(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


class Guard:
    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.reason = ""
        self.kill_at: float | None = None
        self.status: int | None = None
        self.log: CappedLog | None = None
        self.child: subprocess.Popen[bytes]
        if spec.get("log"):
            self.log = CappedLog(spec["log"], spec["log_head_bytes"], spec["log_tail_bytes"], str)

    def run(self) -> int:
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self.asked)
        signal.signal(signal.SIGCHLD, lambda received, frame: None)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        try:
            self.child = subprocess.Popen(
                self.spec["argv"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.log else subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                cwd=self.spec.get("cwd"),
                start_new_session=True,
                preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            )
        except OSError as error:
            report({"error": f"{self.spec['argv'][0]}: {error.strerror or error}"})
            return 127
        report({"pid": self.child.pid})
        if self.log and self.spec.get("redact"):
            # After the child's start, which it would delay; before the first byte is logged.
            self.log.redact = load_redact(self.spec["redact"])
        self.watch(wake_read)
        ending = self.ending()
        # What the child said last is in its log before anybody reads that it has ended.
        self.drain(LAST_WORDS_BYTES)
        # Before the sweep: whoever waits for this role must know at once, not after the last straggler.
        if self.spec.get("exit_file"):
            write_atomically(self.spec["exit_file"], json.dumps({"role": self.spec["name"], **ending}))
        self.sweep()
        self.drain(None)
        report(ending)
        return 128 + signal.Signals[ending["signal"]] if ending["signal"] else int(ending["exit_code"])

    def asked(self, number: int, frame: FrameType | None) -> None:
        self.end(f"guard got {signal.Signals(number).name}")

    def end(self, reason: str) -> None:
        """TERM the child's group now; KILL after the grace (counted from the first request)."""
        if self.kill_at is None:
            self.reason = reason
            self.kill_at = time.monotonic() + self.spec["grace_s"]
            self.signal_group(signal.SIGTERM)

    def signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child.pid, number)

    def watch(self, wake_read: int) -> None:
        output = self.output()
        inputs = [wake_read, sys.stdin.fileno(), *([] if output is None else [output])]
        while not self.reap():
            wait = None if self.kill_at is None else max(0.0, self.kill_at - time.monotonic())
            readable, _, _ = select.select(inputs, [], [], wait)
            for descriptor in readable:
                data = os.read(descriptor, 1 << 16)
                if self.log and descriptor == output:
                    if data:
                        self.log.write(data)
                    else:
                        inputs.remove(descriptor)
                elif descriptor == sys.stdin.fileno() and not data:
                    inputs.remove(descriptor)
                    self.end("its parent is gone")
            if self.kill_at is not None and time.monotonic() >= self.kill_at:
                self.signal_group(signal.SIGKILL)
                send([pid for pid in descendants(os.getpid()) if not gives_back(pid)], signal.SIGKILL)
                self.kill_at = time.monotonic() + 1.0

    def reap(self) -> bool:
        """Collect what has ended; True when the child itself has."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return self.status is not None
            if pid == 0:
                return self.status is not None
            if pid == self.child.pid:
                self.status = status

    def sweep(self) -> None:
        """End every descendant that outlived the child: TERM, a moment (longer for what gives back), KILL, until none
        is left.
        """
        self.reap()
        if not has_child():
            return
        left = descendants(os.getpid())
        send(left, signal.SIGTERM)
        began = time.monotonic()
        while left:
            self.reap()
            left = descendants(os.getpid())
            waited_s = time.monotonic() - began
            if left and waited_s >= LEFTOVER_GRACE_S:
                send([pid for pid in left if waited_s >= GIVE_BACK_S or not gives_back(pid)], signal.SIGKILL)
            if left:
                select.select([], [], [], 0.01)
        self.reap()

    def drain(self, limit: int | None) -> None:
        """Log what is in the pipe, at most ``limit`` bytes: a descendant may still be writing to it."""
        output = self.output()
        if self.log and output is not None:
            os.set_blocking(output, False)
            read = 0
            with contextlib.suppress(BlockingIOError):
                while (limit is None or read < limit) and (data := os.read(output, 1 << 16)):
                    self.log.write(data)
                    read += len(data)
            self.log.finish()

    def output(self) -> int | None:
        return self.child.stdout.fileno() if self.child.stdout is not None else None

    def ending(self) -> dict[str, Any]:
        status = 0 if self.status is None else self.status
        signaled = os.WIFSIGNALED(status)
        return {
            "exit_code": None if signaled else os.WEXITSTATUS(status),
            "signal": signal.Signals(os.WTERMSIG(status)).name if signaled else None,
            "reason": self.reason,
        }


def load_redact(path: str) -> Callable[[str], str]:
    """``redact`` of the module at ``path``, which like this script needs the standard library alone."""
    spec = importlib.util.spec_from_file_location("redact", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[[str], str] = module.redact
    return found


def write_atomically(path: str, text: str) -> None:
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def report(message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        os.write(1, (json.dumps(message) + "\n").encode())


if __name__ == "__main__":
    raise SystemExit(Guard(json.loads(sys.argv[1])).run())
