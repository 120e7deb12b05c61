"""Tries a request again where that can help: no connection, a torn one, 429, 502, 503, 504; after nothing else."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from pytest_disagg.store.protocol import StoreError

T = TypeVar("T")
PASSING = frozenset({429, 502, 503, 504})
"""Status codes that another try may get past."""
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 8.0


class Passing(Exception):
    """A failure that another try may get past. ``pause_s`` is what the server asked for, 0 where it did not."""

    def __init__(self, message: str, pause_s: float = 0.0) -> None:
        super().__init__(message)
        self.pause_s = pause_s


def persist(attempt: Callable[[float], T], *, until: float, timeout_s: float, what: str) -> T:
    """The result of ``attempt``, which gets the seconds it may take and raises :class:`Passing` to be called again.

    Pauses double from a quarter of a second to eight, each shortened by up to half at random so that several runs do
    not come back at once, and never shorter than the server asked for.

    Raises:
        StoreError: it did not succeed before ``until`` (``time.monotonic()``); says how often it was tried and what
            was last seen.
    """
    pause, tries, last = FIRST_PAUSE_S, 0, "no time was left to try"
    while (left := until - time.monotonic()) > 0:
        tries += 1
        try:
            return attempt(min(timeout_s, left))
        except Passing as error:
            last, asked = str(error), error.pause_s
        wait = max(asked, pause * random.uniform(0.5, 1.0))
        if wait >= until - time.monotonic():
            break
        threading.Event().wait(wait)
        pause = min(pause * 2, LONGEST_PAUSE_S)
    raise StoreError(f"{what}: {last} (tried {tries} times)")


def asked_pause_s(header: str | None) -> float:
    """The seconds of a ``Retry-After`` header; 0 where there is none, or a date."""
    try:
        return max(0.0, min(float(header or 0), 3600.0))
    except ValueError:
        return 0.0
