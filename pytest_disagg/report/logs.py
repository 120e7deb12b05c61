"""The lines of a run's logs that decide: those that name an error, and the end."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pytest_disagg.report.model import LogExcerpt, RoleReport
from pytest_disagg.rundir.files import tail_lines
from pytest_disagg.rundir.layout import RunDir

SEARCHED_LINES = 400
TAIL_LINES = {True: 20, False: 5}
"""Of a role that caused a failure, and of one that did not."""
ERROR_LINES = 8
MAX_LINE_CHARS = 2000

_ERROR = re.compile(
    r"error\b|exception|traceback|out of memory|\boom\b|fatal|abort|segmentation fault|panic|refused|timed out"
    r"|no space left|killed",
    re.IGNORECASE,
)
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


def plain(line: str) -> str:
    """A line of a log without terminal colours and control characters, cut at 2000 characters."""
    text = _ANSI.sub("", line.replace("\t", "    "))
    return text if len(text) <= MAX_LINE_CHARS else f"{text[:MAX_LINE_CHARS]} ..."


def excerpts(rundir: RunDir, roles: Iterable[RoleReport], names: Iterable[str]) -> tuple[LogExcerpt, ...]:
    """The logs of ``roles``, then of other ``names`` (of servers that are no role of their own), where there are any.

    Of a role that did not fail, or failed because another did, the end alone is shown. Text is redacted.
    """
    failed = {role.role: role.cause for role in roles}
    found = []
    for name in dict.fromkeys((*failed, *names)):
        for path in (rundir.log(name), rundir.pytest_log(name)):
            lines = [plain(line) for line in tail_lines(path, SEARCHED_LINES)]
            if not lines:
                continue
            bad = failed.get(name, any(failed.values()))
            count = TAIL_LINES[bad]
            errors = [line for line in lines[:-count] if _ERROR.search(line)][-ERROR_LINES:] if bad else []
            found.append(LogExcerpt(name, path.name, bad, tuple(errors), tuple(lines[-count:])))
    return tuple(sorted(found, key=lambda log: not log.cause))
