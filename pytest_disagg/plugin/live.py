"""Lines for a person who waits for a run, past pytest's capture."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import pytest

PLAIN_PROGRESS_S = 5.0
"""How often a progress line is shown where there is no terminal to show it on one line."""


class Live:
    """The lines of one test. On a terminal a progress line replaces the one before."""

    def __init__(self, config: pytest.Config) -> None:
        self._capture: Any = config.pluginmanager.getplugin("capturemanager")
        reporter: Any = config.pluginmanager.getplugin("terminalreporter")
        self._file: TextIO | None = getattr(getattr(reporter, "_tw", None), "_file", None)
        self._tty = bool(getattr(reporter, "isatty", False))
        self._open = False
        self._shown_at = float("-inf")

    def line(self, text: str) -> None:
        """A line that stays."""
        self._write(("\r\x1b[K" if self._tty else "\n" if not self._open else "") + text + "\n")
        self._open = True

    def progress(self, text: str) -> None:
        """A line that the next one replaces; without a terminal, one every few seconds."""
        if self._tty:
            self._write(f"\r\x1b[K{text}")
        elif time.monotonic() - self._shown_at >= PLAIN_PROGRESS_S:
            self._shown_at = time.monotonic()
            self.line(text)

    def _write(self, text: str) -> None:
        if self._file is None:
            return
        with self._released():
            self._file.write(text)
            self._file.flush()

    @contextmanager
    def _released(self) -> Iterator[None]:
        if self._capture is None:
            yield
            return
        with self._capture.global_and_fixture_disabled():
            yield
