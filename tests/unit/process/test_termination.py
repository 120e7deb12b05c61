"""SIGTERM while a case is played: noted by everyone who asked, and by nobody afterwards."""

from __future__ import annotations

import os
import signal
import threading

from pytest_disagg.process.termination import Termination

SAID = "stopped from outside (SIGTERM)"


def test_the_signal_is_noted_by_the_inner_and_the_outer_one() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Termination() as outer:
        with Termination() as inner:
            os.kill(os.getpid(), signal.SIGTERM)
            assert (inner.reason, outer.reason) == (SAID, SAID)
        with Termination() as later:
            assert later.reason == ""
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_foreign_handler_is_put_back_and_not_called() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with Termination() as termination:
            os.kill(os.getpid(), signal.SIGTERM)
        assert (termination.reason, heard) == (SAID, [])
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_another_thread_leaves_the_handlers_alone() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def run() -> None:
        with Termination():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [before]
