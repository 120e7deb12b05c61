"""Secrets that the processes of a run share."""

from __future__ import annotations

import re
import stat
from pathlib import Path

from pytest_disagg.redact import redact
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.rundir.secret import shared_secret


def test_whoever_asks_first_makes_it(tmp_path: Path) -> None:
    rundir = RunDir(tmp_path)
    rundir.make()
    secret = shared_secret(rundir, "key")
    assert re.fullmatch("[0-9a-f]{64}", secret)
    assert shared_secret(rundir, "key") == secret
    assert shared_secret(rundir, "other") != secret
    assert [stat.S_IMODE(path.stat().st_mode) for path in (rundir.secrets, rundir.secrets / "key")] == [0o700, 0o600]
    assert [path.name for path in rundir.secrets.iterdir() if path.name.startswith(".")] == []


def test_it_is_masked_from_then_on(tmp_path: Path) -> None:
    rundir = RunDir(tmp_path)
    rundir.make()
    assert redact(f"word {shared_secret(rundir, 'key')}") == "word ***"


def test_it_goes_with_the_run(tmp_path: Path) -> None:
    rundir = RunDir(tmp_path)
    rundir.make()
    shared_secret(rundir, "key")
    rundir.remove_secrets()
    assert not rundir.secrets.exists()
