"""A cluster's settings in a manifest: whole again, except for what is secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.config.cluster import Cluster, load
from pytest_disagg.errors import UsageError
from pytest_disagg.launch.slurm.launched import changed, cluster_from, file_of, launched
from pytest_disagg.launch.slurm.submit import Wanted
from tests.unit.launch.slurm.conftest import MakeCase

SETTINGS: dict[str, Any] = {
    "partition": "batch",
    "time_limit": "01:30:00",
    "container": "pyxis",
    "image": "registry/image:1",
    "sbatch": ["--exclusive", "--qos=high"],
    "environment": {"worker": {"unset": ["A"], "set": {"B": "1"}}},
    "environment_rules": "none",
    "work_dir": "/shared/runs",
    "install": {"source": "/shared/src", "timeout_s": 60},
}
SECRET = {"environment": {"all": {"set": {"HF_TOKEN": "qwertzuiop"}}}}


def cluster(tmp_path: Path, **more: Any) -> Cluster:
    path = tmp_path / "cluster.yaml"
    path.write_text(json.dumps({"clusters": {"lab": {**SETTINGS, **more}}}))
    return load(path, None, {})


def launch(make_case: MakeCase, settings: Cluster, **more: Any) -> dict[str, Any]:
    found = launched(Wanted(make_case(), settings, Path("/shared/runs"), (), **more))
    text = json.dumps(found)
    assert "qwertzuiop" not in text
    content: dict[str, Any] = json.loads(text)
    return content


@pytest.mark.parametrize("settings", [Cluster(), Cluster(name="plain", gpu_request="none")])
def test_defaults_come_back(make_case: MakeCase, settings: Cluster) -> None:
    assert cluster_from(launch(make_case, settings), None) == settings


def test_settings_come_back(make_case: MakeCase, tmp_path: Path) -> None:
    settings = cluster(tmp_path)
    kept = launch(make_case, settings, retries=2, cluster_file=tmp_path / "cluster.yaml", profiling={"gen": "1-9"})
    assert cluster_from(kept, None) == settings
    assert settings.time_limit == 5400
    assert (kept["retries"], kept["profiling"], kept["test"]) == (2, {"gen": "1-9"}, None)
    assert file_of(kept) == tmp_path / "cluster.yaml"
    (tmp_path / "cluster.yaml").unlink()
    assert file_of(kept) is None


def test_a_secret_comes_from_the_file_or_not_at_all(make_case: MakeCase, tmp_path: Path) -> None:
    settings = cluster(tmp_path, **SECRET)
    kept = launch(make_case, settings)
    with pytest.raises(UsageError, match=r"cluster 'lab': .* secret \(environment\.all\.set\.HF_TOKEN\).*--cluster"):
        cluster_from(kept, None)
    now = cluster(tmp_path, **SECRET, image="registry/image:2")
    assert cluster_from(kept, now) == settings
    assert changed(settings, now) == ["image"]


def test_settings_that_this_version_does_not_know(make_case: MakeCase) -> None:
    kept = launch(make_case, Cluster())
    kept["cluster"]["torus"] = "3d"
    with pytest.raises(UsageError, match=r"as the manifest has it: torus: .*give --cluster FILE"):
        cluster_from(kept, None)
