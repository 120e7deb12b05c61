"""What the programs print, and the one exception that ends them with a message."""

from __future__ import annotations

import sys

from pytest_disagg.wrapper.redaction import redact


class WrapperError(Exception):
    """Ends a program: the message goes to its output and into its junit file, ``exit_code`` to Slurm."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def say(text: str) -> None:
    """Print redacted lines at once: a process that is killed next must not take them with it."""
    sys.stdout.write(redact(text) + "\n")
    sys.stdout.flush()
