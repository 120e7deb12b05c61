"""What collection costs is what it imports: looked at in a process that has imported nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def imported(code: str, *arguments: str) -> set[str]:
    script = f"import sys, json; {code}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return set(json.loads(done.stdout))


def test_a_listing_imports_no_pydantic(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / f"{name}.yaml").write_text("worker_config: {}\n")
    code = "import pathlib; from pytest_disagg.config.listing import list_cases; "
    code += "assert len(list_cases([pathlib.Path(sys.argv[1])])) == 16"
    assert not imported(code, str(tmp_path)) & {"asyncio", "pydantic", "requests"}
