"""All ranks of a step meet before the engine starts.

Installing is done node by node, so nothing makes one node wait for another; the import of an engine's library is an MPI
collective whose own fence gives up after 300 s and does not say who was missing. Here a rank that is late is named.
"""

from __future__ import annotations

from pathlib import Path

from pytest_disagg.wrapper.console import WrapperError
from pytest_disagg.wrapper.files import read_json, write_json
from pytest_disagg.wrapper.step import Step
from pytest_disagg.wrapper.stopping import Stopping
from pytest_disagg.wrapper.waiting import wait_until

TIMEOUT_VARIABLE, TIMEOUT_S = "DISAGG_BARRIER_TIMEOUT_S", 3600.0
NAMES_SHOWN = 16


class Barrier:
    """Where the ranks of one attempt of one step leave a file each: ``<workspace>/run_ready_<key>/rank_<n>.json``."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._folder = None if step.shared is None else step.shared / f"run_ready_{step.key}"

    def meet(self, timeout_s: float, stopping: Stopping) -> None:
        """Say that this rank is ready and wait for all the others. A step of one task has nobody to meet.

        Raises:
            WrapperError: no shared folder is known; a rank failed before it got here; ranks missing at the limit.
            Stopped: a signal came meanwhile.
        """
        if self._step.tasks == 1:
            return
        folder = self._publish("")
        missing = {rank: folder / f"rank_{rank}.json" for rank in range(self._step.tasks) if rank != self._step.rank}

        def all_there() -> bool:
            for rank in list(missing):
                said = read_json(missing[rank])
                if said is not None:
                    if said["failure"]:
                        raise WrapperError(
                            f"rank {rank} on node {said['node']} failed before it was ready: {said['failure']}"
                        )
                    del missing[rank]
            return not missing

        if not wait_until(all_there, timeout_s, stopping):
            names = ", ".join(map(str, sorted(missing)[:NAMES_SHOWN]))
            more = f" and {len(missing) - NAMES_SHOWN} more" if len(missing) > NAMES_SHOWN else ""
            raise WrapperError(
                f"waited {timeout_s:g} s ({TIMEOUT_VARIABLE}) for all {self._step.tasks} ranks of this step in "
                f"{folder}; missing: rank {names}{more}"
            )

    def give_up(self, reason: str) -> None:
        """Say that this rank will never be ready, so that the others need not wait for it."""
        if self._step.tasks > 1 and self._folder is not None:
            self._publish(reason)

    def _publish(self, failure: str) -> Path:
        if self._folder is None:
            raise WrapperError(
                f"this step has {self._step.tasks} tasks and neither jobWorkspace nor DISAGG_RUN_DIR names a folder "
                "that all of them share: they cannot wait for each other"
            )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_json(
                self._folder / f"rank_{self._step.rank}.json",
                {"rank": self._step.rank, "node": self._step.node, "failure": failure},
            )
        except OSError as error:
            raise WrapperError(f"cannot write into {self._folder}: {error.strerror}") from error
        return self._folder
