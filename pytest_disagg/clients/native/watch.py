"""Asks the caller, from a thread of its own, whether to stop, and tells it how far the load is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pytest_disagg.clients.protocol import LoadProgress

INTERVAL_S = 0.2


@contextmanager
def watching(
    progress: Callable[[], LoadProgress],
    on_progress: Callable[[LoadProgress], None] | None,
    should_stop: Callable[[], str | None] | None,
    stop: Callable[[str | BaseException], None],
) -> Iterator[None]:
    """Call ``on_progress`` and ``should_stop`` five times a second while inside.

    They run in a helper thread: they may wait for a file system, and the event loop must not. ``stop`` is given, once,
    the reason of ``should_stop`` or the exception that one of them raised.
    """
    if on_progress is None and should_stop is None:
        yield
        return
    over = threading.Event()

    def ask() -> None:
        while not over.wait(INTERVAL_S):
            try:
                if on_progress is not None:
                    on_progress(progress())
                reason = should_stop() if should_stop is not None else None
            except BaseException as error:  # noqa: BLE001  (raised again by the thread that waits for the load)
                stop(error)
                return
            if reason is not None:
                stop(reason)
                return

    thread = threading.Thread(target=ask, name="disagg-native-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
