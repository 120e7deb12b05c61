"""``<job folder>/launch.json``: how a job was made, for whoever wants the same job again.

The manifest of its run takes the file over, since the folder gets purged with the runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pytest_disagg.config.cluster import Cluster
from pytest_disagg.errors import UsageError
from pytest_disagg.launch.slurm.jobdir import JobDir
from pytest_disagg.records.recipe import LAUNCH_FILE, masked_keys, put, value_at
from pytest_disagg.redact import redact_data
from pytest_disagg.rundir.files import to_json, write_text

if TYPE_CHECKING:
    from pytest_disagg.launch.slurm.submit import Wanted

NAME = "name"
TIME_LIMIT = "time_limit"
RULES = "environment_rules"


def launched(wanted: Wanted) -> dict[str, Any]:
    """What is kept of a submission: the cluster's settings in force (those that are no defaults), without secrets, and
    what ``disagg run`` was told besides. The keys of what was left out are in ``masked``.
    """
    settings = wanted.cluster.model_dump(mode="json", exclude_defaults=True)
    shown = redact_data(settings)
    return {
        "cluster": shown,
        "masked": [list(key) for key in masked_keys(settings, shown)],
        "cluster_file": str(wanted.cluster_file) if wanted.cluster_file else None,
        "test": str(wanted.test) if wanted.test else None,
        "test_name": wanted.test_name,
        "rootdir": str(wanted.rootdir) if wanted.rootdir else None,
        "profiling": dict(wanted.profiling),
        "retries": wanted.retries,
    }


def write(folder: JobDir, content: Mapping[str, Any]) -> None:
    """Write it into the folder of the job."""
    write_text(folder.path / LAUNCH_FILE, to_json(content))


def cluster_from(launch: Mapping[str, Any], own: Cluster | None) -> Cluster:
    """The cluster as it was. ``own`` is what its file says now, None where that is gone; it supplies what is secret.

    Raises:
        UsageError: what was kept is no cluster, or a secret is nowhere.
    """
    settings = dict(launch["cluster"])
    now = own.model_dump(mode="json") if own is not None else {}
    missing = []
    for key in launch["masked"]:
        value = value_at(now, key)
        if value is None:
            missing.append(".".join(key))
        else:
            put(settings, key, value)
    name = settings.get(NAME) or "default"
    if missing:
        raise UsageError(
            f"cluster {name!r}: the manifest does not hold what is secret ({', '.join(missing)}), and the cluster file "
            f"{launch.get('cluster_file') or '(none)'} does not say it: give --cluster FILE"
        )
    limit_s = settings.pop(TIME_LIMIT, None)  # seconds by now, which the file's own form is not
    if RULES in settings and settings[RULES] is None:
        settings[RULES] = "none"
    try:
        cluster = Cluster.model_validate(settings)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise UsageError(f"cluster {name!r} as the manifest has it: {problems}: give --cluster FILE") from error
    return cluster.model_copy(update={TIME_LIMIT: limit_s})


def changed(before: Cluster, now: Cluster) -> list[str]:
    """The names of the settings in which two clusters differ."""
    return [name for name in Cluster.model_fields if getattr(before, name) != getattr(now, name)]


def file_of(launch: Mapping[str, Any]) -> Path | None:
    """The cluster file of the submission, None where there was none or it is gone."""
    path = Path(launch["cluster_file"]) if launch.get("cluster_file") else None
    return path if path is not None and path.is_file() else None
