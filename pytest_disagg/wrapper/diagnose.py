"""What to look at when pytest ends with 4 (usage error), which now and then is a half-unpacked tree."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from pytest_disagg.wrapper.console import say
from pytest_disagg.wrapper.package import python
from pytest_disagg.wrapper.supervise import Ended

PYTEST_USAGE_ERROR = 4
_IMPORT = "import sys; sys.path.insert(0, '.'); import conftest; print('conftest imported from', conftest.__file__)"


def usage_error(cwd: Path, env: Mapping[str, str], run: Callable[[tuple[str, ...], Mapping[str, str]], Ended]) -> None:
    """Print the working directory's listing, its pytest files' digests, and whether its conftest can be imported."""
    say(f"pytest ended with exit code 4, a usage error. {cwd} holds:")
    for line in listing(cwd):
        say(f"  {line}")
    for name in ("conftest.py", "pytest.ini", "pyproject.toml"):
        path = cwd / name
        say(f"{name}: {_digest(path) if path.is_file() else 'is not there'}")
    if (cwd / "conftest.py").is_file():
        ended = run((python(env), "-c", _IMPORT), env)
        say(f"import of conftest: {ended}")


def listing(folder: Path) -> list[str]:
    """Mode, size in bytes and name of each entry."""
    lines = []
    for entry in sorted(folder.iterdir()):
        found = entry.lstat()
        lines.append(f"{stat.filemode(found.st_mode)} {found.st_size:>10} {entry.name}")
    return lines


def _digest(path: Path) -> str:
    data = path.read_bytes()
    return f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}"
