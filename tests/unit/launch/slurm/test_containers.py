"""What is mounted, and how a program gets into its container."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.config.cluster import Cluster
from pytest_disagg.errors import UsageError
from pytest_disagg.launch.slurm.containers import Container, container_of

CWD = Path("/project")


def cluster(**values: Any) -> Cluster:
    return Cluster.model_validate({"image": "a:1", **values})


def test_no_container() -> None:
    assert container_of(cluster(), [Path("/x")], CWD) == Container()


def test_paths_are_mounted_once_and_where_they_are() -> None:
    found = container_of(
        cluster(container="pyxis", mounts=["/data:/mnt"]), map(Path, ["/b/c", "/b", "/data/x", "/a"]), CWD
    )
    assert "--container-mounts=/data:/mnt,/b:/b,/a:/a" in found.options
    assert "--container-image=a:1" in found.options
    assert found.image_import is None


@pytest.mark.parametrize("path", ["/a,b", "/a:b"])
def test_a_path_that_no_mount_list_can_hold(path: str) -> None:
    with pytest.raises(UsageError, match="cannot mount"):
        container_of(cluster(container="pyxis"), [Path(path)], CWD)


def test_an_image_kept_as_a_file() -> None:
    found = container_of(cluster(container="pyxis", image_dir="/images"), [], CWD)
    assert found.image_import is not None
    assert found.image_import.source == "docker://a:1"
    assert f"--container-image={found.image_import.file}" in found.options
    given = container_of(cluster(container="pyxis", image_dir="/images", image="/images/x.sqsh"), [], CWD)
    assert given.image_import is None


def test_apptainer_stands_before_the_program() -> None:
    found = container_of(cluster(container="apptainer", image="/i.sif"), [Path("/a")], CWD)
    assert found.options == ()
    assert found.prefix == ("apptainer", "exec", "--nv", "--pwd", "/project", "--bind", "/a:/a", "/i.sif")
