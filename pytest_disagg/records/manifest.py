"""The manifest of a run: everything needed to say later what was measured, on what, with which versions.

Each part is a probe of its own. One that fails says so in its place (``{"error": ...}``) and spoils no other.
"""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_disagg.records.ci import ci_fields
from pytest_disagg.records.gpu import GpuProbe, gpu_type, probe
from pytest_disagg.records.recipe import OF_VARIABLE, PART, recipe_of
from pytest_disagg.redact import redact_data, redact_env
from pytest_disagg.version import __version__

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case

__all__ = ["collect", "git_state", "gpu_type", "slurm_facts"]

SCHEMA = 1
"""Counts up when a part changes its meaning; manifests without it are older than ``disagg rerun``."""
GIT_TIMEOUT_S = 5.0
_SLURM = (
    "SLURM_JOB_ID",
    "SLURM_JOB_NAME",
    "SLURM_JOB_PARTITION",
    "SLURM_JOB_ACCOUNT",
    "SLURM_JOB_NODELIST",
    "SLURM_JOB_NUM_NODES",
    "SLURM_CLUSTER_NAME",
    "SLURM_RESTART_COUNT",
    "SLURM_STEP_ID",
    "SLURM_PROCID",
    "SLURMD_NODENAME",
)
_IMAGE = ("DISAGG_CONTAINER_IMAGE", "CONTAINER_IMAGE", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")


def collect(
    case: Case,
    *,
    run_id: str,
    role: str,
    environ: Mapping[str, str] | None = None,
    gpus: GpuProbe | None = None,
    started: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The manifest as seen by ``role`` on this machine, redacted and ready for JSON; the caller adds stage times.

    ``environ`` defaults to this process's; ``started`` is how it was started. Takes a few seconds at most: every tool
    asked has its own time limit.
    """
    env = os.environ if environ is None else environ
    found = probe() if gpus is None else gpus
    recipe = recipe_of(case, started or {}, env)
    return {
        "schema": SCHEMA,
        "run_id": run_id,
        "rerun_of": env.get(OF_VARIABLE) or None,
        "role": role,
        "case": case.id.text,
        "host": socket.gethostname(),
        "version": __version__,
        "git": {"config": git_state(case.path.parent), "package": git_state(Path(__file__).parent)},
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "executable": sys.executable,
        },
        "packages": _guarded(installed),
        "gpu": _gpu(found),
        "cpu": _guarded(_cpu),
        "memory": _guarded(_memory),
        "kernel": {"system": platform.system(), "release": platform.release(), "machine": platform.machine()},
        "slurm": slurm_facts(env),
        "ci": ci_fields(env),
        "container": _image(case, env, recipe["launch"]),
        "config": {
            "path": str(case.path),
            "digest": case.digest,
            "engine": case.engine,
            "rehearsal": case.rehearsal,
            "notes": list(case.notes),
            "effective": redact_data(case.document),
        },
        PART: recipe,
        "environment": redact_env(dict(sorted(env.items()))),
    }


def slurm_facts(environ: Mapping[str, str]) -> dict[str, str]:
    """What Slurm says of this process, under Slurm's own names; empty outside of a job.

    ``slurm_run`` takes these variables from roles that must not find an MPI, and leaves them as ``DISAGG_<name>``.
    """
    found = {name: environ.get(name) or environ.get(f"DISAGG_{name}") for name in _SLURM}
    return {name: value for name, value in found.items() if value}


def git_state(directory: Path) -> dict[str, Any]:
    """``sha``, ``branch`` (``HEAD`` when detached), ``dirty`` and ``root`` of the repository around ``directory``.

    ``{"error": ...}`` where there is none, or no git. Untracked files are not dirt; no lock of the repository is taken.
    """
    sha = _git(directory, "rev-parse", "HEAD")
    if isinstance(sha, dict):
        return sha
    rest = {
        "branch": _git(directory, "rev-parse", "--abbrev-ref", "HEAD"),
        "root": _git(directory, "rev-parse", "--show-toplevel"),
    }
    changes = _git(directory, "status", "--porcelain", "--untracked-files=no")
    return {"sha": sha, **rest, "dirty": changes if isinstance(changes, dict) else bool(changes)}


def _git(directory: Path, *arguments: str) -> str | dict[str, str]:
    try:
        result = subprocess.run(
            ["git", "-C", str(directory), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
    except FileNotFoundError:
        return {"error": "git is not on PATH"}
    except subprocess.TimeoutExpired:
        return {"error": f"git {arguments[0]} gave no answer in {GIT_TIMEOUT_S:g} s"}
    except OSError as error:
        return {"error": f"git {arguments[0]}: {error.strerror or error}"}
    if result.returncode != 0:
        return {"error": f"git {arguments[0]} in {directory}: {result.stderr.strip()[:300]}"}
    return result.stdout.strip()


def _guarded(part: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    try:
        return part()
    except (OSError, ValueError, ImportError, KeyError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def installed() -> dict[str, str]:
    """The version of every distribution that this interpreter sees."""
    named = ((found.metadata["Name"], found.version) for found in metadata.distributions())
    return dict(sorted((name, version) for name, version in named if name))


def _gpu(found: GpuProbe) -> dict[str, Any]:
    part: dict[str, Any] = {"type": gpu_type(found), "gpus": [asdict(gpu) for gpu in found.gpus]}
    return {**part, "error": found.error} if found.error else part


def _cpu() -> dict[str, Any]:
    model = ""
    with Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model", "cpu model"):
                model = value.strip()
                break
    return {
        "model": model or platform.processor() or platform.machine(),
        "logical": os.cpu_count(),
        "usable": len(os.sched_getaffinity(0)),
    }


def _memory() -> dict[str, Any]:
    import psutil

    return {"total_bytes": psutil.virtual_memory().total}


def _image(case: Case, environ: Mapping[str, str], launch: Mapping[str, Any] | None) -> dict[str, Any]:
    """The image that the job was submitted with, or that a variable or the case's file names; a placeholder
    (``<image>``) names none.
    """
    cluster = (launch or {}).get("cluster") or {}
    if cluster.get("container", "none") != "none":
        return {"image": cluster.get("image"), "from": "cluster"}
    for name in _IMAGE:
        if environ.get(name):
            return {"image": redact_data(environ[name]), "from": name}
    block = case.document.get("environment")
    image = block.get("container_image") if isinstance(block, Mapping) else None
    if isinstance(image, str) and image and not image.startswith("<") and not launch:
        return {"image": redact_data(image), "from": "environment.container_image"}
    return {"image": None, "from": None}
