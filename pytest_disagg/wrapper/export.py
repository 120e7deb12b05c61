"""Writes ``slurm_run`` and ``slurm_install`` as self-contained executable files: ``python -m ...wrapper.export DIR``.

Each is a zip archive with this package's modules and nothing else, so it runs on a node where nothing is installed but
a Python of 3.8 or later. The same sources give the same bytes.
"""

from __future__ import annotations

import importlib.util
import io
import marshal
import sys
import zipfile
from functools import lru_cache
from pathlib import Path

PROGRAMS = ("slurm_run", "slurm_install")
SHEBANG = b"#!/usr/bin/env python3\n"
OLDEST_DATE = (1980, 1, 1, 0, 0, 0)
USAGE = 2

_MAIN = """\
import sys

from pytest_disagg.wrapper.{program} import main

sys.exit(main())
"""


def export(directory: Path) -> list[Path]:
    """Write both programs into ``directory`` (made if need be), replacing older ones; their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for program in PROGRAMS:
        path = directory / program
        temporary = directory / f".{program}.tmp"
        temporary.write_bytes(SHEBANG + archive(program))
        temporary.chmod(0o755)
        temporary.replace(path)
        written.append(path)
    return written


def archive(program: str) -> bytes:
    """The zip archive of ``program``."""
    members = {"__main__.py": _MAIN.format(program=program).encode(), **_modules()}
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, OLDEST_DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            bundle.writestr(info, members[name])
    return data.getvalue()


@lru_cache(maxsize=1)
def _modules() -> dict[str, bytes]:
    """The modules of every program, each as source and as bytecode."""
    sources = {"pytest_disagg/__init__.py": b""}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name != Path(__file__).name:
            sources[f"pytest_disagg/wrapper/{path.name}"] = path.read_bytes()
    return {**sources, **{f"{name}c": _compiled(name, source) for name, source in sources.items()}}


def _compiled(name: str, source: bytes) -> bytes:
    """The bytecode of a module for this Python, which saves a tenth of a second at every start; another one compiles.

    In the form of PEP 552 that is not checked against its source.
    """
    header = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(source)
    return header + marshal.dumps(compile(source, name, "exec", dont_inherit=True))


def main() -> int:
    """Export into the folder named on the command line and print the paths."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.stderr.write("usage: python -m pytest_disagg.wrapper.export DIR\n")
        return USAGE
    for path in export(Path(sys.argv[1])):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
