"""Where each file of a run lies. Nobody lists directories: all names follow from the plan."""

from __future__ import annotations

import contextlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.errors import RunError

LEGACY_LOG_NAMES = {"DISAGG_SERVER": "disagg_server.log"}


def safe_name(text: str) -> str:
    """A case id as a folder name: path separators and spaces never occur."""
    return re.sub(r"[^A-Za-z0-9._,+=@-]", "_", text)


def unusable(path: Path, error: OSError) -> RunError:
    """The error of a run directory that this process cannot use."""
    return RunError(
        f"cannot use the run directory {path}: {error.filename}: {error.strerror}; the work directory must be writable "
        "for every role",
        kind="infrastructure",
        stage="launch",
    )


@dataclass(frozen=True)
class RunDir:
    """``<work_dir>/<run id>/<case>/`` and the names in it."""

    path: Path

    @classmethod
    def of(cls, work_dir: Path, run_id: str, case_id: str) -> RunDir:
        return cls(work_dir / safe_name(run_id) / safe_name(case_id))

    def make(self) -> None:
        """Create the folders; any number of roles may do so at once.

        Raises:
            RunError: they cannot be created (``infrastructure``).
        """
        try:
            for folder in ("roles", "logs", "results", "config", "junit"):
                (self.path / folder).mkdir(parents=True, exist_ok=True)
            self.secrets.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise unusable(self.path, error) from error

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def outcome(self) -> Path:
        return self.path / "outcome.json"

    @property
    def release(self) -> Path:
        """Whoever makes this file ends a deployment that was kept up."""
        return self.path / "release"

    @property
    def manifest(self) -> Path:
        return self.path / "results" / "manifest.json"

    @property
    def records(self) -> Path:
        return self.path / "results" / "records.jsonl"

    @property
    def results(self) -> Path:
        return self.path / "results"

    @property
    def secrets(self) -> Path:
        return self.path / "secrets"

    @property
    def shared(self) -> Path:
        """What the processes of the engine share by themselves; ours look at nothing in it."""
        return self.path / "shared"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def role(self, role: str) -> Path:
        return self.path / "roles" / f"{role}.json"

    def exit(self, role: str) -> Path:
        return self.path / "roles" / f"{role}.exit.json"

    def address(self, role: str) -> Path:
        """Where the process of ``role`` reports its own address; the role alone reads it and publishes it."""
        return self.path / "config" / role / "address"

    def config(self, role: str) -> Path:
        return self.path / "config" / role

    def log(self, role: str) -> Path:
        return self.logs / f"{role}.log"

    def client(self, load: str, repeat: int) -> Path:
        """What a load generator writes that is a program of its own."""
        return self.logs / "client" / f"{load}.r{repeat}"

    def pytest_log(self, role: str) -> Path:
        return self.logs / f"{role}.pytest.log"

    def stacks(self, role: str) -> Path:
        return self.logs / f"{role}.stacks.txt"

    def junit(self, role: str) -> Path:
        return self.path / "junit" / f"{role}.xml"

    def link_legacy_log(self, role: str) -> None:
        """The name that existing scripts parse (``gen_server_0.log``), as a link to this role's log."""
        kind, _, index = role.partition("_")
        name = LEGACY_LOG_NAMES.get(role) or f"{kind.lower()}_server_{index}.log"
        with contextlib.suppress(FileExistsError):
            (self.path / name).symlink_to(Path("logs") / f"{role}.log")

    def remove_secrets(self) -> None:
        shutil.rmtree(self.secrets, ignore_errors=True)
