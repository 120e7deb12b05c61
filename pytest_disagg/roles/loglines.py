"""What logs say: whether they say anything new, and which of their lines name an error. Nothing is decided by words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pytest_disagg.rundir.files import tail_lines

LOOK_BYTES = 1 << 16
MAX_SEEN = 10_000
EARLIER_LINES = 5
SEARCHED_LINES = 400

_ITERATION = re.compile(rb"\biter\s*=\s*\d+")
_VARYING = re.compile(rb"0x[0-9a-fA-F]+|[0-9a-fA-F]{8,}|\d+")
_ERROR = re.compile(
    r"error\b|exception|traceback|out of memory|\boom\b|fatal|abort|segmentation fault|assert|panic|refused|timed out",
    re.IGNORECASE,
)


class FreshLines:
    """Whether logs gained a line that is no repeat. Lines that differ only in numbers repeat each other, unless they
    count iterations.

    The first look only notes how long the logs are. Of more than 64 KiB between two looks the end is read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._ends: dict[Path, int] = {}
        self._seen: set[bytes] = set()

    def look(self) -> bool:
        """Whether there was one since the last look."""
        return sum(self._grown(path) for path in self._paths) > 0

    def _grown(self, path: Path) -> bool:
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                end, self._ends[path] = self._ends.get(path, size), size
                if size <= end:
                    return False
                file.seek(max(end, size - LOOK_BYTES))
                lines = file.read(LOOK_BYTES).splitlines()
        except OSError:
            return False
        found = {line if _ITERATION.search(line) else _VARYING.sub(b"0", line).strip() for line in lines} - {b""}
        fresh = found - self._seen
        if len(self._seen) < MAX_SEEN:
            self._seen |= fresh
        return bool(fresh)


def last_lines(path: Path, count: int) -> list[str]:
    """For a person: the last ``count`` lines of a log under a heading, and above them the last few that name an error.

    What ended a server is often said before its other ranks have filled the end of the log.
    """
    lines = tail_lines(path, SEARCHED_LINES)
    shown, before = lines[-count:], lines[:-count]
    earlier = [line for line in before if _ERROR.search(line)][-EARLIER_LINES:]
    head = [f"earlier lines of {path.name} that name an error:", *earlier] if earlier else []
    return [*head, f"last {count} lines of {path.name}:", *shown]
