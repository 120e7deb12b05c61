"""How a step's program gets into the site's container: options of srun (pyxis), or words before it (apptainer)."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.config.cluster import Cluster
from pytest_disagg.errors import UsageError
from pytest_disagg.launch.slurm.spec import ImageImport
from pytest_disagg.records.ci import VARIABLES as CI_VARIABLES
from pytest_disagg.records.recipe import JOB_DIR_VARIABLE, OF_VARIABLE

CROSSING = (
    "DISAGG_SERVING_TYPE",
    "DISAGG_RUN_ID",
    "DISAGG_RUN_DIR",
    "DISAGG_DEADLINE",
    "DISAGG_JOB_GPUS",
    "DISAGG_JOB_STARTED",
    "DISAGG_CLUSTER_NAME",
    "DISAGG_RANKS",
    "DISAGG_STOP_GRACE_S",
    "DISAGG_HEARTBEAT_TIMEOUT_S",
    "DISAGG_STEP_CWD",
    "DISAGG_PYTHON",
    JOB_DIR_VARIABLE,
    OF_VARIABLE,
    "pytestCommand",
    *CI_VARIABLES,
)
"""What a role is told through the environment: the image's own values must not win over them."""


@dataclass(frozen=True)
class Container:
    """``options`` are for every srun, ``prefix`` goes before every program, ``image_import`` comes before both."""

    options: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    image_import: ImageImport | None = None


def needed_paths(cluster: Cluster) -> list[Path]:
    """What every container of this cluster has to show: environment and source of ``disagg``, models, source tree."""
    own = [] if cluster.python is not None else [Path(sys.prefix), Path(__file__).parents[3]]
    return [*own, *(path for path in (cluster.models_root, cluster.llm_src) if path is not None)]


def container_of(cluster: Cluster, paths: Iterable[Path], cwd: Path) -> Container:
    """The container of every step of a job; ``paths`` are mounted where they are, beside the cluster's own mounts.

    Raises:
        UsageError: a path that this runtime's mount list cannot hold.
    """
    if cluster.container == "none" or cluster.image is None:
        return Container()
    mounts = _mounts(cluster, paths)
    if cluster.container == "apptainer":
        binds = tuple(word for mount in mounts for word in ("--bind", mount))
        return Container(prefix=("apptainer", "exec", "--nv", "--pwd", str(cwd), *binds, cluster.image))
    image, needed = cluster.image, None
    if cluster.image_dir is not None and not cluster.image.startswith(("/", "./")):
        # By content of the name: two tags of one repository are two files.
        digest = hashlib.sha256(cluster.image.encode()).hexdigest()[:16]
        needed = ImageImport(f"docker://{cluster.image}", cluster.image_dir / f"container-{digest}.sqsh")
        image = str(needed.file)
    options = (
        f"--container-image={image}",
        f"--container-mounts={','.join(mounts)}",
        f"--container-workdir={cwd}",
        "--no-container-mount-home",
        f"--container-env={','.join((*CROSSING, *cluster.container_env))}",
    )
    return Container(options=options, image_import=needed)


def _mounts(cluster: Cluster, paths: Iterable[Path]) -> list[str]:
    covered = [Path(mount.split(":")[0]) for mount in cluster.mounts]
    mounts = list(cluster.mounts)
    for path in sorted(dict.fromkeys(paths), key=lambda each: len(each.parts)):
        if any(path == other or other in path.parents for other in covered):
            continue
        if any(mark in str(path) for mark in ",:"):
            raise UsageError(f"cannot mount {str(path)!r}: found ',' or ':', which separate mounts")
        covered.append(path)
        mounts.append(f"{path}:{path}")
    return mounts
