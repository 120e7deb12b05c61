"""Who installs on this node: one process, the others wait for it.

A claim is a file in a node-local folder, created exclusively and locked before it appears; its owner keeps the lock for
as long as it lives. So a claim without a result whose lock is free belongs to a dead process, whatever its process id
says in this container, and the next generation of the claim may be taken.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import Any

from pytest_disagg.wrapper.console import WrapperError, say
from pytest_disagg.wrapper.files import read_json, write_json
from pytest_disagg.wrapper.step import Step
from pytest_disagg.wrapper.stopping import Stopping
from pytest_disagg.wrapper.waiting import wait_until

FOLDER_VARIABLE = "DISAGG_CLAIM_DIR"
TIMEOUT_VARIABLE, TIMEOUT_S = "DISAGG_INSTALL_TIMEOUT_S", 3600.0
MAX_GENERATIONS = 100


def default_folder() -> Path:
    """A folder of this user alone: a name that anybody can guess in /tmp must not be anybody's to write."""
    folder = Path(tempfile.gettempdir()) / f"disagg-install-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o022 or folder.is_symlink():
        raise WrapperError(f"{folder} is not a folder that only this user can write ({FOLDER_VARIABLE} names another)")
    return folder


class Owned:
    """A claim that this process holds. ``finish`` tells the others how it went."""

    def __init__(self, path: Path, descriptor: int, step: Step) -> None:
        self._path = path
        self._descriptor = descriptor
        self._step = step

    def finish(self, exit_code: int, message: str) -> None:
        said = {"exit_code": exit_code, "message": message, "step": self._step.step, "owner": self._step.title}
        write_json(_result(self._path), said)

    def release(self) -> None:
        os.close(self._descriptor)


class Claim:
    """The claim of one piece of work on one node, for one attempt of one job. ``work`` tells different works apart."""

    def __init__(self, folder: Path, step: Step, work: str) -> None:
        self._folder = folder
        self._step = step
        self._base = f"install_{step.attempt}_node_{step.node_id}_{step.node}_{work}"

    def take(self, timeout_s: float, stopping: Stopping) -> Owned | None:
        """The claim, or None once another process of this node has done the work.

        A failure in another step of this attempt does not count: whoever tries again there may.

        Raises:
            WrapperError: the owner failed (its message and exit code), or did not finish within ``timeout_s``.
            Stopped: a signal came meanwhile.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for generation in range(MAX_GENERATIONS):
            path = self._folder / f"{self._base}.{generation}"
            descriptor = self._create(path)
            if descriptor is not None:
                return Owned(path, descriptor, self._step)
            if self._done(path, timeout_s, stopping):
                return None
        raise WrapperError(
            f"{self._folder / self._base}: {MAX_GENERATIONS} claims have been given up, expected one to last"
        )

    def _create(self, path: Path) -> int | None:
        """Create ``path``, locked from its first moment; None if it is there."""
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=str(self._folder))
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.link(temporary, str(path))
        except FileExistsError:
            os.close(descriptor)
            return None
        except OSError as error:
            os.close(descriptor)
            raise WrapperError(f"cannot claim {path}: {error.strerror} ({FOLDER_VARIABLE} names the folder)") from error
        finally:
            Path(temporary).unlink()
        return descriptor

    def _done(self, path: Path, timeout_s: float, stopping: Stopping) -> bool:
        """Wait for the owner's result: True when it succeeded, False when the claim is void."""
        if not wait_until(lambda: read_json(_result(path)) is not None or _is_free(path), timeout_s, stopping):
            raise WrapperError(
                f"waited {timeout_s:g} s ({TIMEOUT_VARIABLE}) for the owner of {path} to finish installing"
            )
        said: dict[str, Any] | None = read_json(_result(path))
        if said is None:
            say(f"the process that claimed {path} is gone without a result: claiming it anew")
            return False
        if said["exit_code"] == 0:
            return True
        if said["step"] != self._step.step:
            return False
        raise WrapperError(f"{said['owner']} could not install: {said['message']}", int(said["exit_code"]))


def _result(path: Path) -> Path:
    return path.with_name(f"{path.name}.result")


def _is_free(path: Path) -> bool:
    """Whether nobody holds the lock of ``path``. Asked with a shared lock: two that ask do not mislead each other."""
    descriptor = os.open(str(path), os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
