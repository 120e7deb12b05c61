"""One exit code out of several, as the script that this program replaces merges them."""

from __future__ import annotations

from pytest_disagg.wrapper.supervise import Ended

SIGTERM_CODE = 143


def of_command(ended: Ended, *, run_over: bool) -> int:
    """The code that the command's end stands for.

    128 + n where signal n killed it. TERM is no failure where we sent it because nothing was left to do, or where it
    came after the run had its outcome: that is how servers are stopped. A command that we stopped because another rank
    failed has failed, even where it took that well.
    """
    if ended.code == SIGTERM_CODE and (ended.on_purpose or (run_over and ended.asked_by is not None)):
        return 0
    stopped_for_another = bool(ended.reason) and ended.started and ended.asked_by is None and not ended.on_purpose
    return 1 if ended.code == 0 and stopped_for_another else ended.code


def merged(pytest_code: int, check_code: int, report_code: int) -> int:
    """pytest's code if it is not 0, else the check's, else the report's."""
    return pytest_code or check_code or report_code
