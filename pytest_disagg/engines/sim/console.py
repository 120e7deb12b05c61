"""The server's log (stdout), and the way out that a crash takes."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from pytest_disagg.engines.sim.truth import TruthLog


def log(text: str) -> None:
    """One line of the server's log."""
    sys.stdout.write(f"[sim] {text}\n")
    sys.stdout.flush()


def leave(code: int, truth: TruthLog | None, reason: str) -> NoReturn:
    """End the process at once, as a crash does: nothing is answered any more."""
    log(f"exit {code}: {reason}")
    if truth is not None:
        truth.close()
    os._exit(code)
