"""``job.json``: what was handed to Slurm, for whoever follows the job later, from another shell or another machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_disagg.errors import UsageError
from pytest_disagg.launch.slurm.jobdir import JobDir
from pytest_disagg.rundir.files import read_json, to_json, write_text
from pytest_disagg.rundir.layout import RunDir


@dataclass(frozen=True)
class Submission:
    """One case as one job. ``tasks`` is step -> number of tasks; ``test`` the node id as pytest reports it.
    ``gpus`` are all that the job is meant to hold. ``quarantine`` is the file that says whether the case is in
    quarantine, empty where there is none."""

    case: str
    work_dir: str
    cluster: str
    roles: tuple[str, ...]
    tasks: Mapping[str, int]
    heartbeat_timeout_s: float
    test: str
    gpus: int = 0
    quarantine: str = ""

    def write(self, folder: JobDir) -> None:
        write_text(folder.description, to_json(asdict(self)))

    @classmethod
    def read(cls, folder: JobDir) -> Submission:
        """Raises:
        UsageError: the folder has none.
        """
        data: dict[str, Any] | None = read_json(folder.description)
        if data is None:
            raise UsageError(f"{folder.description} is missing: this is not the folder of a job")
        return cls(**{**data, "roles": tuple(data["roles"])})

    def rundir(self, run_id: str) -> RunDir:
        return RunDir.of(Path(self.work_dir), run_id, self.case)
