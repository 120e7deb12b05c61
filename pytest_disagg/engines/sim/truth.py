"""The truth log: when each chunk was really written, so that a client's numbers can be held against it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import IO


class TruthLog:
    """JSON lines ``{"request_id", "chunk", "tokens", "received_s", "monotonic_s"}``, one per chunk with tokens.

    Times are seconds of CLOCK_MONOTONIC: ``received_s`` when the request was read completely, ``monotonic_s`` right
    before the chunk's write. ``chunk`` counts from 0 within the request. Entries are kept in memory until
    :meth:`flush`, because formatting them beside the writes would shift what is measured.
    """

    def __init__(self, path: Path) -> None:
        self._file: IO[str] = path.open("a", encoding="utf-8")
        self._entries: list[tuple[str, int, int, float, float]] = []

    def add(self, request_id: str, chunk: int, tokens: int, received_s: float) -> None:
        """Note a chunk that is written next."""
        self._entries.append((request_id, chunk, tokens, received_s, time.monotonic()))

    def flush(self) -> None:
        """Write what was noted since the last time."""
        entries, self._entries = self._entries, []
        if not entries:
            return
        names = ("request_id", "chunk", "tokens", "received_s", "monotonic_s")
        self._file.write("".join(json.dumps(dict(zip(names, entry, strict=True))) + "\n" for entry in entries))
        self._file.flush()

    def close(self) -> None:
        """Flush and close."""
        self.flush()
        self._file.close()
