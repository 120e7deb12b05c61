"""The watchdog: what counts as progress, and that leaving it does not wait for servers that hang."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_disagg.clients.protocol import LoadProgress
from pytest_disagg.roles.watchdog import Watchdog


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Engine:
    """Servers that count nothing; ``asked`` says whose counters were wanted."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.was_asked = threading.Event()
        self.go_on = threading.Event()

    def progress(self, url: str, timeout_s: float) -> int | None:
        self.asked.append(url)
        self.was_asked.set()
        self.go_on.wait(20)
        return None


def progress(chunks: int) -> LoadProgress:
    return LoadProgress(completed=0, failed=0, in_flight=1, output_chunks=chunks, elapsed_s=1.0, total=2)


def test_tokens_are_progress_and_their_lack_is_a_stall() -> None:
    clock, engine = Clock(), Engine()
    watchdog = Watchdog(engine, list, 10.0, clock=clock)  # type: ignore[arg-type]  # asked for progress alone
    clock.now = 9.0
    watchdog.saw(progress(1))
    clock.now = 18.0
    watchdog.saw(progress(1))
    assert watchdog.stalled() is None
    clock.now = 19.0
    assert "no progress for 10 s (timeouts.stall_s)" in (watchdog.stalled() or "")


def test_a_client_that_still_starts_is_not_stalled() -> None:
    clock, engine = Clock(), Engine()
    watchdog = Watchdog(engine, list, 10.0, clock=clock)  # type: ignore[arg-type]  # asked for progress alone
    for clock.now in (9.0, 18.0, 27.0):
        watchdog.saw(replace(progress(0), starting=True))
        assert watchdog.stalled() is None
    watchdog.saw(progress(0))
    clock.now = 37.0
    assert watchdog.stalled() is not None


def test_news_in_a_log_is_progress(tmp_path: Path) -> None:
    log = tmp_path / "GEN_0.log"
    log.write_text("loading\n")
    clock = Clock()
    engine: Any = Engine()
    engine.go_on.set()
    with Watchdog(engine, lambda: ["http://a"], 0.2, [log], clock=clock) as watchdog:
        clock.now = 0.15
        engine.was_asked.wait(20)  # from here on the length of the log is known
        with log.open("a") as file:
            file.write("compiling a kernel\n")
        ends = threading.Event()
        for _ in range(400):
            if watchdog.silent_s() == 0.0:
                break
            ends.wait(0.05)
        assert watchdog.silent_s() == 0.0


def test_leaving_waits_for_one_server_that_hangs_and_not_for_all_of_them() -> None:
    clock = Clock()
    engine: Any = Engine()
    with Watchdog(engine, lambda: [f"http://{i}" for i in range(50)], 0.2, clock=clock) as watchdog:
        clock.now = 0.15
        assert engine.was_asked.wait(20)
        threading.Timer(0.1, engine.go_on.set).start()
        assert watchdog.silent_s() > 0
    assert len(engine.asked) < 50
