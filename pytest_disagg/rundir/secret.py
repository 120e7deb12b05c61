"""Random secrets that the processes of one run share. They lie in ``secrets/``, which is removed when the run stops."""

from __future__ import annotations

import secrets

from pytest_disagg.redact import register
from pytest_disagg.rundir.files import create_text
from pytest_disagg.rundir.layout import RunDir

SECRET_BYTES = 32


def shared_secret(rundir: RunDir, name: str) -> str:
    """The run's secret of that name, 64 hexadecimal digits: whichever role asks first makes it, the others read it."""
    path = rundir.secrets / name
    create_text(path, secrets.token_hex(SECRET_BYTES), mode=0o600)
    found = path.read_text(encoding="utf-8")
    register(found)
    return found
