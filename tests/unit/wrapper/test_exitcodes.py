"""One exit code out of several: every combination."""

from __future__ import annotations

import itertools

import pytest

from pytest_disagg.wrapper.exitcodes import merged, of_command
from pytest_disagg.wrapper.supervise import Ended


@pytest.mark.parametrize(("pytest_code", "check", "report"), [*itertools.product((0, 1, 4), (0, 2), (0, 3))])
def test_pytest_first_then_the_check_then_the_report(pytest_code: int, check: int, report: int) -> None:
    if pytest_code:
        expected = pytest_code
    elif check:
        expected = check
    else:
        expected = report
    assert merged(pytest_code, check, report) == expected


KILLED_BY_TERM = Ended(None, 15, "x")

CODES = [
    # what happened, whether the run was over, code
    (Ended(0, None), False, 0),
    (Ended(5, None), False, 5),
    (Ended(5, None), True, 5),
    (Ended(None, 9), False, 137),
    (Ended(None, 11), True, 139),
    (Ended(None, 15), False, 143),
    (Ended(None, 15), True, 143),
    (Ended(127, None, "no such program", started=False), False, 127),
    # Slurm sent TERM, INT
    (Ended(None, 15, "stopped by SIGTERM", asked_by=15), False, 143),
    (Ended(None, 15, "stopped by SIGTERM", asked_by=15), True, 0),
    (Ended(143, None, "stopped by SIGTERM", asked_by=15), True, 0),
    (Ended(None, 2, "stopped by SIGINT", asked_by=2), False, 130),
    (Ended(0, None, "stopped by SIGTERM", asked_by=15), False, 0),
    (Ended(1, None, "stopped by SIGTERM", asked_by=15), True, 1),
    (Ended(None, 9, "stopped by SIGTERM", asked_by=15), False, 137),
    # We sent TERM: nothing was left to do
    (Ended(None, 15, "rank 0 has ended", on_purpose=True), False, 0),
    (Ended(143, None, "rank 0 has ended", on_purpose=True), False, 0),
    (Ended(3, None, "rank 0 has ended", on_purpose=True), False, 3),
    # We sent TERM: another rank had failed
    (Ended(None, 15, "rank 2 ended"), False, 143),
    (Ended(0, None, "rank 2 ended"), False, 1),
    (Ended(4, None, "rank 2 ended"), False, 4),
]


@pytest.mark.parametrize(("ended", "over", "code"), CODES, ids=[f"{row[0]} {row[1]}" for row in CODES])
def test_what_the_end_of_a_command_stands_for(ended: Ended, over: bool, code: int) -> None:
    assert of_command(ended, run_over=over) == code
