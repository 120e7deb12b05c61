"""Programs that stand in for ones that need GPUs. Each says in its output that it is a stand-in."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PROGRAMS = ("trtllm-serve", "trtllm-llmapi-launch")


def install(folder: Path) -> str:
    """Put the stand-ins into ``folder``, under the names of the real programs; a PATH that begins with it."""
    folder.mkdir(parents=True, exist_ok=True)
    python, code = shlex.quote(sys.executable), shlex.quote(str(HERE / "trtllm_serve.py"))
    _program(folder / "trtllm-serve", f'#!/bin/sh\nexec {python} {code} "$@"\n')
    _program(folder / "trtllm-llmapi-launch", (HERE / "trtllm_llmapi_launch.sh").read_text(encoding="utf-8"))
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def _program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
