"""Programs that stand in for ones that need GPUs. Each says in its output that it is a stand-in."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SCRIPTS = {"trtllm-serve": "trtllm_serve.py", "vllm": "vllm_serve.py", "lm_eval": "lm_eval.py"}


def install(folder: Path) -> str:
    """Put the stand-ins into ``folder``, under the names of the real programs; a PATH that begins with it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, script in SCRIPTS.items():
        words = shlex.join([sys.executable, str(HERE / script)])
        _program(folder / name, f'#!/bin/sh\nexec {words} "$@"\n')
    _program(folder / "trtllm-llmapi-launch", (HERE / "trtllm_llmapi_launch.sh").read_text(encoding="utf-8"))
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def sglang_python(folder: Path) -> str:
    """An interpreter below ``folder`` that has the stand-in for ``sglang.launch_server``: for DISAGG_SGLANG_PYTHON."""
    package = folder / "site" / "sglang"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    code = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom tests.standins.sglang_server import main\n"
    (package / "launch_server.py").write_text(f"{code}sys.exit(main())\n", encoding="utf-8")
    program = folder / "sglang-python"
    site, python = shlex.quote(str(package.parent)), shlex.quote(sys.executable)
    _program(program, f'#!/bin/sh\nPYTHONPATH={site} exec {python} "$@"\n')
    return str(program)


def _program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
