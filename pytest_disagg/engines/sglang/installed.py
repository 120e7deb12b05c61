"""Which Python has SGLang, and which the router. Nothing is started or imported to find out."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ANY_PYTHON = "python3"
"""What a command shows where nothing is installed: a plan is made on any machine."""


@dataclass(frozen=True)
class Program:
    """A Python package with a module to run, a script that comes with it, and the variable that says where it is."""

    package: str
    module: str
    script: str
    variable: str
    install: str

    def python(self, env: Mapping[str, str]) -> str:
        """The interpreter that runs it.

        That is ``variable`` of ``env`` (the case file's, for that process), else of this process; else this interpreter
        where it has the package; else the one beside the script on PATH; else any.
        """
        return self._named(env) or self._found() or ANY_PYTHON

    def missing(self, env: Mapping[str, str]) -> str | None:
        """Why it cannot be run here; None when it can."""
        named = self._named(env)
        if named is None:
            where = f"or name the Python that has it in {self.variable}"
            return None if self._found() else f"{self.install.split()[-1]} is not installed: {self.install}, {where}"
        if shutil.which(named) is None:
            return f"{self.variable}={named}: no such program"
        return None if self._beside(Path(named)) else f"{self.variable}={named} has no {self.package}: {self.install}"

    def _named(self, env: Mapping[str, str]) -> str | None:
        return env.get(self.variable) or os.environ.get(self.variable) or None

    def _found(self) -> str | None:
        spec = importlib.util.find_spec(self.package)
        # A folder of that name in the current directory is found too, but it has no origin.
        if spec is not None and spec.origin is not None:
            return sys.executable
        script = shutil.which(self.script)
        python = Path(script).resolve().with_name(ANY_PYTHON) if script else None
        return str(python) if python is not None and python.exists() else None

    def _beside(self, python: Path) -> bool:
        """Whether a virtual environment has the package; of any other interpreter that is only known once it runs."""
        prefix = python.parent.parent
        if not (prefix / "pyvenv.cfg").is_file():
            return True
        found = (f"lib/python3*/site-packages/{name}" for name in (self.package, f"{self.package}-*.dist-info"))
        return any(any(prefix.glob(pattern)) for pattern in found)


SERVER = Program("sglang", "sglang.launch_server", "sglang", "DISAGG_SGLANG_PYTHON", "pip install sglang")
ROUTER = Program(
    "sglang_router",
    "sglang_router.launch_router",
    "sglang-router",
    "DISAGG_SGLANG_ROUTER",
    "pip install sglang-router",
)
