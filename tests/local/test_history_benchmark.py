"""benchmarks/history.py runs and says what it measured; never how fast, which is no matter of passing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_every_step_of_a_new_run_is_timed() -> None:
    argv = [sys.executable, str(BENCHMARKS / "history.py"), "--records", "1000", "--runs", "1"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "1000 records in 200 files" in done.stdout
    assert "one series has 2 records" in done.stdout
    for step in ("opened and brought up to date", "one series read", "new run kept", "all three"):
        assert re.search(rf"^{step} +\d+ ms +\d+ ms$", done.stdout, re.MULTILINE), done.stdout
