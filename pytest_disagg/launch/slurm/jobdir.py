"""What belongs to a submission rather than to a run: ``<work_dir>/jobs/<name>/``, made before there is a job id."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path

JOBS = "jobs"


@dataclass(frozen=True)
class JobDir:
    """The folder of one submission. ``<work_dir>/jobs/<job id>`` is a link to it once Slurm has taken the job."""

    path: Path

    @classmethod
    def new(cls, work_dir: Path) -> JobDir:
        """A name that sorts by time and never repeats; the folder is not made yet."""
        return cls(work_dir / JOBS / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}")

    @classmethod
    def of_job(cls, work_dir: Path, job_id: str) -> JobDir | None:
        """The folder of a job that was submitted from this work directory; None where it was not."""
        path = work_dir / JOBS / job_id
        return cls(path.resolve()) if path.is_dir() else None

    @property
    def script(self) -> Path:
        return self.path / "job.sh"

    @property
    def programs(self) -> Path:
        """``slurm_run``, ``slurm_install`` and the check of the nodes."""
        return self.path / "bin"

    @property
    def description(self) -> Path:
        """``job.json``: what is submitted, see :class:`.submit.Submission`. Written before Slurm is asked."""
        return self.path / "job.json"

    @property
    def run_id_file(self) -> Path:
        """Written by the job script at every start of the job, so a restart is followed."""
        return self.path / "run_id"

    def log(self, job_id: str) -> Path:
        return self.path / f"slurm_{job_id}.log"

    def run_id(self) -> str | None:
        """The job's current run; None before its script started."""
        try:
            return self.run_id_file.read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None

    def link(self, work_dir: Path, job_id: str) -> None:
        """Make the folder known by its job id."""
        link = work_dir / JOBS / job_id
        temporary = link.with_name(f".{job_id}.{secrets.token_hex(3)}")
        temporary.symlink_to(self.path.name)
        # A cluster that was set up anew counts its jobs from 1 again: the newest submission is meant.
        temporary.replace(link)
