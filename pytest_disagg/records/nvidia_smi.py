"""Asking ``nvidia-smi``, which hangs where the driver does."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Sequence

from pytest_disagg.errors import DisaggError

TOOL = "nvidia-smi"
NO_DEVICES = "No devices were found"
"""What it says, and fails, on a machine that has a driver and no GPU."""


class SmiError(DisaggError):
    """nvidia-smi is there and says nothing that can be used."""


def run(argv: Sequence[str], timeout_s: float) -> str:
    """What a command of nvidia-smi prints.

    Raises:
        SmiError: it cannot be started, does not end in time, or ends with another code than 0; with what it said.
    """
    words = " ".join(argv)
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # It prints the names of other people's processes.
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise SmiError(f"{words}: {error.strerror or error}") from error
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        # A driver that hangs keeps it from dying, sudo makes it another user's: then it is left to whoever collects
        # what this process leaves.
        with contextlib.suppress(subprocess.TimeoutExpired, PermissionError):
            process.kill()
            process.communicate(timeout=1)
        raise SmiError(f"{words} gave no answer in {timeout_s:g} s") from error
    if process.returncode != 0:
        said = " ".join((errors.strip() or output.strip()).split())[:300]
        raise SmiError(f"{words} ended with exit code {process.returncode}: {said}")
    return output
