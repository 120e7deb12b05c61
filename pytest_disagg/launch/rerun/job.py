"""A run once more as a Slurm job: the submission that ``disagg run`` would make, from what the manifest kept of it."""

from __future__ import annotations

from pathlib import Path

from pytest_disagg.config.cluster import Cluster, load
from pytest_disagg.errors import DisaggError
from pytest_disagg.launch.rerun.again import Again
from pytest_disagg.launch.slurm.launched import changed, cluster_from, file_of
from pytest_disagg.launch.slurm.submit import Wanted
from pytest_disagg.records.recipe import Recipe


def was_a_job(recipe: Recipe) -> bool:
    """Whether ``disagg run``, or a script in its form, made the job of the run."""
    return "cluster" in recipe.launch


def cluster_again(recipe: Recipe) -> tuple[Cluster, list[str]]:
    """The cluster's settings as they were, and in what its file differs from them now.

    Raises:
        UsageError: see :func:`pytest_disagg.launch.slurm.launched.cluster_from`.
    """
    path = file_of(recipe.launch)
    own: Cluster | None = None
    notes = []
    if path is not None:
        try:
            own = load(path, recipe.launch["cluster"].get("name") or None, {})
        except DisaggError as error:
            notes.append(f"{path} cannot be used now: {error}")
    before = cluster_from(recipe.launch, own)
    if own is not None and (names := changed(before, own)):
        notes.append(f"{path} says other values now of {', '.join(names)}; --cluster FILE takes them from a file")
    return before, notes


def with_image(cluster: Cluster, recipe: Recipe) -> Cluster:
    """Another cluster's settings with the image of the run, where that cluster runs containers at all."""
    image = recipe.launch.get("cluster", {}).get("image")
    return cluster.model_copy(update={"image": image}) if image and cluster.container != "none" else cluster


def wanted_again(
    made: Again, cluster: Cluster, cluster_file: Path | None, work_dir: Path, history: Path
) -> tuple[Wanted, list[str]]:
    """What is submitted, and what could not be as it was."""
    launch, notes = made.recipe.launch, []
    test = Path(launch["test"]) if launch.get("test") else None
    if test is not None and not test.is_file():
        notes.append(f"{test} is gone: a test module that is made here plays the case")
        test = None
    wanted = Wanted(
        case=made.case,
        cluster=cluster,
        work_dir=work_dir,
        options=made.options(work_dir, history, cluster.interface),
        test=test,
        test_name=launch["test_name"] if test else "test_e2e",
        rootdir=Path(launch["rootdir"]) if test and launch.get("rootdir") else None,
        visible=tuple(path for path in (history, made.baselines) if path is not None),
        profiling=dict(launch.get("profiling") or {}),
        environ=made.environ,
        cluster_file=cluster_file,
        retries=int(launch.get("retries") or 0),
    )
    return wanted, notes
