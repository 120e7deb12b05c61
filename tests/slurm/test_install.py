"""What the cluster file's ``install`` brings to a node is there when the servers' environment is checked."""

from __future__ import annotations

import hashlib
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.slurm.jobs import ONE_NODE, Job, Project

# A stand-in for an engine's package, under the name that a tarball's wheel has where nothing else is said.
NAME, VERSION = "tensorrt_llm", "9.9"
FILES = {
    f"{NAME}/__init__.py": f'__version__ = "{VERSION}"\n',
    f"{NAME}-{VERSION}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n",
    f"{NAME}-{VERSION}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{NAME}-{VERSION}.dist-info/RECORD": "",
}


def wheel(folder: Path) -> Path:
    path = folder / f"{NAME}-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize("kind", ["wheel", "tarball"])
def test_an_installed_package_is_there_before_the_servers(project: Project, kind: str) -> None:
    built = wheel(project.folder)
    install = {"wheel": str(built)}
    if kind == "tarball":
        path = project.folder / "package.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            archive.add(built, f"TensorRT-LLM/{built.name}")
        install = {"tarball": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    target = project.folder / "installed"
    project.cluster(install=install, environment={"all": {"set": {"PYTHONPATH": str(target)}}})
    project.case(
        "job",
        **ONE_NODE,
        precheck={"command": [sys.executable, "-c", f"import {NAME} as it; print('version', it.__version__)"]},
    )
    # All nodes are this machine, so what is installed and unpacked goes to places of this test alone.
    env = {"PIP_TARGET": str(target), "PIP_NO_INDEX": "1", "resourcePathNode": str(project.folder / "node")}
    command = project.disagg("run", "cases/job.yaml", "--config-dir=cases", "--junitxml=r.xml", env=env)
    job = Job(project, command, project.job_id(command))
    assert command.end() == 0, job.said()
    assert f"version {VERSION}" in (job.rundir.logs / "precheck.GEN_0.log").read_text()
    assert job.result()["steps"]["install"] == 0
