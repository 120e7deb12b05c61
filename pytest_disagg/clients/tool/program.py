"""Where a load generator's program lies, which version it is of, and what to say where there is none.

One variable per client, ``DISAGG_<CLIENT>`` (``DISAGG_VLLM_BENCH``), names the virtual environment it is installed in,
or the program itself: the command, or the Python interpreter for one that is started with ``-m``. Unset, the command is
looked for on PATH, and a module in the interpreter that runs this.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pytest_disagg.errors import UsageError

ASK_TIMEOUT_S = 30.0
_FIND = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
_VERSION = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"


@dataclass(frozen=True)
class Program:
    """``command`` is a console script; ``module`` is started by an interpreter with ``-m``. One of them is empty.

    ``distribution`` is the package that both belong to, ``install`` the command that installs it.
    """

    client: str
    distribution: str
    install: str
    command: str = ""
    module: str = ""

    @property
    def variable(self) -> str:
        return f"DISAGG_{self.client.upper()}"

    def unavailable(self, environ: Mapping[str, str] | None = None) -> str | None:
        """Why it cannot be started here, with the command that installs it; None where it can."""
        try:
            self.argv(environ)
        except UsageError as error:
            return str(error)
        return None

    def argv(self, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """The first words of its command line.

        Raises:
            UsageError: it is not installed, or its variable names something else.
        """
        environ = os.environ if environ is None else environ
        given = environ.get(self.variable, "")
        program = self._given(Path(given).expanduser()) if given else self._found(environ)
        if program is None:
            raise UsageError(f"{self._missing()}: {self.install}, or set {self.variable} to where it is installed")
        # It is started in another folder than this one.
        program = str(Path(program).absolute())
        if self.command:
            return (program,)
        package = self.module.partition(".")[0]
        if not _has(program, package):
            raise UsageError(
                f"{program} has no package {package}: {self.install}, or set {self.variable} to where it is installed"
            )
        return (program, "-m", self.module)

    def typed(self, environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """The first words of its command line as one would type them where it is installed; nothing is looked for."""
        given = (os.environ if environ is None else environ).get(self.variable, "")
        program = str(self._place(Path(given).expanduser())) if given else self._word
        return (program, "-m", self.module) if self.module else (program,)

    @property
    def _word(self) -> str:
        return self.command or "python"

    def _place(self, path: Path) -> Path:
        return path / "bin" / self._word if path.is_dir() else path

    def version(self, environ: Mapping[str, str] | None = None) -> str:
        """The version of the installed distribution; ``unknown`` where its interpreter cannot be told.

        Raises:
            UsageError: as :meth:`argv`.
        """
        program = Path(self.argv(environ)[0])
        beside = [program.resolve().with_name(name) for name in ("python", "python3")]
        beside += [program.with_name(name) for name in ("python", "python3")]
        interpreter = str(program) if self.module else next((str(path) for path in beside if path.exists()), "")
        return _version(interpreter, self.distribution) if interpreter else "unknown"

    def _given(self, path: Path) -> str:
        found = self._place(path)
        if not (found.is_file() and os.access(found, os.X_OK)):
            raise UsageError(
                f"{self.variable}: found {str(path)!r}, expected a virtual environment with bin/{self._word}, or that "
                f"program; {self.install}"
            )
        return str(found)

    def _found(self, environ: Mapping[str, str]) -> str | None:
        return shutil.which(self.command, path=environ.get("PATH")) if self.command else sys.executable

    def _missing(self) -> str:
        return f"the program {self.command} is not on PATH"


@cache
def _has(interpreter: str, package: str) -> bool:
    """Whether ``interpreter`` has that top-level package; nothing of it is imported."""
    if interpreter == sys.executable:
        return importlib.util.find_spec(package) is not None
    return _ask(interpreter, _FIND, package) is not None


@cache
def _version(interpreter: str, distribution: str) -> str:
    return (_ask(interpreter, _VERSION, distribution) or "").strip() or "unknown"


def _ask(interpreter: str, code: str, word: str) -> str | None:
    """What ``code`` prints; None where it ends badly."""
    try:
        asked = subprocess.run(
            [interpreter, "-c", code, word],
            capture_output=True,
            text=True,
            timeout=ASK_TIMEOUT_S,
            check=False,
            # Not here, where a checkout of the package's sources may lie: Python would take that for the package.
            cwd=os.sep,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout if asked.returncode == 0 else None
