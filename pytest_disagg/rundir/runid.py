"""Which run this process belongs to."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping

from pytest_disagg.errors import UsageError


def new_run_id() -> str:
    """A run id for a run that a launcher starts here: sorts by time, never repeats."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def run_id_of(environ: Mapping[str, str]) -> str | None:
    """``DISAGG_RUN_ID``, else Slurm's job id and restart count; None where nothing says which run this is."""
    if run_id := environ.get("DISAGG_RUN_ID"):
        return run_id
    if job := environ.get("SLURM_JOB_ID"):
        return f"{job}.{environ.get('SLURM_RESTART_COUNT') or 0}"
    return None


def required_run_id(environ: Mapping[str, str], role: str) -> str:
    """The run id of a process that was given a role.

    Raises:
        UsageError: started by hand without one; roles could never meet.
    """
    run_id = run_id_of(environ)
    if run_id is None:
        raise UsageError(
            f"DISAGG_SERVING_TYPE={role} was set by hand and nothing says which run it belongs to: "
            "set DISAGG_RUN_ID to the same new word for every role of the run"
        )
    return run_id
