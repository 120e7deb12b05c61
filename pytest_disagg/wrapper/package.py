"""Where the package under test is installed, as the ``python3`` of the command sees it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pytest_disagg.wrapper.console import WrapperError

NAME_VARIABLE, NAME_DEFAULT = "DISAGG_PACKAGE", "tensorrt_llm"
LIBRARIES_VARIABLE = "DISAGG_PACKAGE_LIBS"
PYTHON_VARIABLE = "DISAGG_PYTHON"
PLACEHOLDER = "TRTLLM_WHL_PATH"
GENERIC_PLACEHOLDER = "PACKAGE_PATH"
LOOKUP_TIMEOUT_S = 120.0

# The same folder that `pip3 show` calls Location, without pip. The current directory is not searched.
# importlib.metadata takes longer to import than Python to start, so folders are looked through as it would; what else
# can hold a distribution (zip archives, eggs, finders of others) is left to it.
_LOOKUP = """
import os, sys
sys.path[:] = [entry for entry in sys.path if entry]
def plain(name):
    return "_".join(filter(None, name.lower().replace("-", "_").replace(".", "_").split("_")))
def quick():
    finders = [finder for finder in sys.meta_path if hasattr(finder, "find_distributions")]
    if [getattr(finder, "__name__", "") for finder in finders] != ["PathFinder"]:
        return False
    return not any(entry.lower().endswith(".egg") or os.path.isfile(entry) for entry in sys.path)
if quick():
    for entry in sys.path:
        try:
            names = os.listdir(entry)
        except OSError:
            continue
        for name in names:
            head, _, kind = name.lower().rpartition(".")
            if kind in ("dist-info", "egg-info") and plain(head.partition("-")[0]) == plain(sys.argv[1]):
                print(entry)
                raise SystemExit(0)
    raise SystemExit(3)
from importlib import metadata
try:
    print(metadata.distribution(sys.argv[1]).locate_file(""))
except metadata.PackageNotFoundError:
    raise SystemExit(3)
"""


def python(environ: Mapping[str, str]) -> str:
    """DISAGG_PYTHON, else what ``python3`` means in ``environ``, else the interpreter that runs this."""
    return environ.get(PYTHON_VARIABLE) or shutil.which("python3", path=environ.get("PATH")) or sys.executable


class Package:
    """The package named by DISAGG_PACKAGE (default tensorrt_llm). Looked up once, when it is first asked for."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = dict(environ)
        self.name = environ.get(NAME_VARIABLE) or NAME_DEFAULT
        self.libraries = environ.get(LIBRARIES_VARIABLE) or f"{self.name}/libs"
        self._asked = False
        self._location: Path | None = None

    def location(self) -> Path | None:
        """The folder that holds the package (site-packages), None where it is not installed."""
        if not self._asked:
            self._asked = True
            self._location = self._look_up()
        return self._location

    def required_location(self) -> str:
        """The same, for a placeholder.

        Raises:
            WrapperError: not installed.
        """
        location = self.location()
        if location is None:
            raise WrapperError(
                f"a placeholder needs the folder of the package {self.name}, and {python(self._environ)} does not have "
                f"it ({NAME_VARIABLE} names another package)"
            )
        return str(location)

    def library_folder(self) -> Path | None:
        """The folder of its shared libraries, None where there is none."""
        location = self.location()
        folder = None if location is None else location / self.libraries
        return folder if folder is not None and folder.is_dir() else None

    def _look_up(self) -> Path | None:
        interpreter = python(self._environ)
        try:
            result = subprocess.run(
                [interpreter, "-c", _LOOKUP, self.name],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=LOOKUP_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise WrapperError(f"cannot ask {interpreter} where {self.name} is installed: {error}") from error
        if result.returncode == 3:
            return None
        if result.returncode != 0:
            lines = result.stderr.decode(errors="replace").strip().splitlines()
            raise WrapperError(
                f"{interpreter} cannot say where {self.name} is installed: exit code {result.returncode}: "
                f"{lines[-1] if lines else 'no message'}"
            )
        return Path(os.fsdecode(result.stdout).rstrip("\n"))
