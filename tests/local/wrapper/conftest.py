"""slurm_run and slurm_install as real processes, each in an environment of its own, all killed in teardown."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.waiting import LIMIT_S

REPOSITORY = Path(__file__).resolve().parents[3]
MODULE = "pytest_disagg.wrapper"


@dataclass
class Programs:
    """Starts programs with ``env`` and nothing else of this process's environment but PATH."""

    folder: Path
    env: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(
        self, program: str, *, prefix: Sequence[str] | None = None, task: str = "", **env: str
    ) -> subprocess.Popen[str]:
        """Start ``slurm_run`` or ``slurm_install``, as ``task`` (rank/number of tasks); its output is one pipe."""
        rank, _, tasks = task.partition("/")
        numbers = {"SLURM_PROCID": rank, "SLURM_NTASKS": tasks, "SLURM_LOCALID": rank}
        process = subprocess.Popen(
            list(prefix) if prefix else [sys.executable, "-m", f"{MODULE}.{program}"],
            env={**self.env, **(numbers if task else {}), **env},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def run(self, program: str, *, prefix: Sequence[str] | None = None, **env: str) -> tuple[int, str]:
        """Run one task to its end: exit code and output."""
        return ended(self.start(program, prefix=prefix, **env))

    def slurm_run(self, command: str, **env: str) -> tuple[int, str]:
        return self.run("slurm_run", pytestCommand=command, **env)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=LIMIT_S)
    return process.returncode, output


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    home, folder, scratch = tmp_path / "home", tmp_path / "cwd", tmp_path / "tmp"
    for path in (home, folder, scratch):
        path.mkdir()
    env = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(scratch),
        "PYTHONPATH": str(REPOSITORY),
        "DISAGG_STEP_CWD": str(folder),
        "DISAGG_RETRY_PAUSE_S": "0.01",
        "no_proxy": "*",
    }
    found = Programs(folder, env)
    yield found
    kill_all(str(scratch))
    for process in found.started:
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def kill_all(tmpdir: str) -> None:
    """End every process that has this test's TMPDIR: whatever escaped from what it tests carries it, too."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("TMPDIR") == tmpdir:
                process.kill()
