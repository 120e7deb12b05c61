"""Between what a role publishes (:class:`Failure`) and what it raises (:class:`RunError`)."""

from __future__ import annotations

import traceback

from pytest_disagg.errors import DisaggError, RunError
from pytest_disagg.redact import redact
from pytest_disagg.rundir.state import Failure

TRACEBACK_LINES = 20


def because(cause: Failure) -> RunError:
    """The error of a role that stops because of another one: same kind, same cause, one text everywhere."""
    return RunError(
        cause.headline(),
        kind=cause.kind,
        stage=cause.stage,
        because_of=cause.because_of or cause.role,
        exit_code=cause.exit_code,
        signal=cause.signal,
        evidence=cause.evidence,
    )


def error_of(failure: Failure) -> RunError:
    """A failure of this process as the error that it was, or should have been."""
    return RunError(
        failure.message,
        kind=failure.kind,
        stage=failure.stage,
        because_of=failure.because_of,
        exit_code=failure.exit_code,
        signal=failure.signal,
        evidence=failure.evidence,
        dump_stacks=failure.dump_stacks,
    )


def unforeseen(role: str, stage: str, exc: BaseException) -> Failure:
    """An exception that is no :class:`RunError`; one that is not even ours keeps the end of its traceback."""
    if isinstance(exc, DisaggError):
        return Failure(role, "infrastructure", stage, redact(str(exc)))
    lines = "".join(traceback.format_exception(exc)).splitlines()[-TRACEBACK_LINES:]
    text = redact(f"{type(exc).__name__}: {exc}")
    return Failure(role, "infrastructure", stage, text, evidence=tuple(redact(line) for line in lines))
