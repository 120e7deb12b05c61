"""What is to be installed, from the environment: names and meaning of TensorRT-LLM's slurm_install.sh."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from pytest_disagg.wrapper.console import WrapperError

USAGE = 2
DEFAULT_RESOURCE = "/tmp"
INPUTS = (
    "llmTarfile",
    "tarName",
    "DISAGG_TARBALL_SHA256",
    "DISAGG_TARBALL_ROOT",
    "DISAGG_PACKAGE",
    "INSTALL_MODE",
    "WHEEL_PATH",
    "BUILD_WHEEL",
    "DISAGG_BUILD_COMMAND",
    "DISAGG_INSTALL_COMMAND",
    "POST_INSTALL_HOOK",
    "llmSrcNode",
    "resourcePathNode",
)
MODES = ("", "none", "wheel", "source")


@dataclass(frozen=True)
class Recipe:
    """``mode`` is ``tarball``, ``wheel``, ``source``, ``command``, or ``none``; a tarball may come before any of them.

    ``tarball`` is a URL or a path, ``archive`` the file name it is kept under, ``root`` the folder it unpacks to, below
    ``resource``. ``work`` is a digest of all inputs: two different installations do not share a claim.
    """

    mode: str
    tarball: str
    archive: str
    sha256: str
    resource: Path
    root: Path
    source: Path | None
    wheel: Path | None
    package: str
    build: bool
    build_command: str
    command: str
    hook: Path | None
    work: str

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Recipe:
        """The recipe in ``environ``.

        Raises:
            WrapperError: an unknown INSTALL_MODE, or one that lacks an input.
        """
        mode = environ.get("INSTALL_MODE", "")
        if mode not in MODES:
            raise WrapperError(f"INSTALL_MODE: found {mode!r}, expected wheel, source or none", USAGE)
        tarball = environ.get("llmTarfile", "")
        resource = Path(environ.get("resourcePathNode") or DEFAULT_RESOURCE)
        source = Path(environ["llmSrcNode"]) if environ.get("llmSrcNode") else None
        wheel = Path(environ["WHEEL_PATH"]) if environ.get("WHEEL_PATH") else None
        build = environ.get("BUILD_WHEEL") == "true"
        if not mode:
            mode = "tarball" if tarball else "wheel" if wheel or build else "none"
        if environ.get("DISAGG_INSTALL_COMMAND"):
            mode = "command"
        if source is None and (mode == "source" or build or (mode == "wheel" and wheel is None)):
            raise WrapperError(f"install mode {mode}: llmSrcNode, the source tree, is not set", USAGE)
        inputs = "\0".join(f"{name}={environ.get(name, '')}" for name in INPUTS)
        return cls(
            mode=mode,
            tarball=tarball,
            archive=environ.get("tarName") or PurePosixPath(urlsplit(tarball).path).name,
            sha256=environ.get("DISAGG_TARBALL_SHA256", ""),
            resource=resource,
            root=resource / (environ.get("DISAGG_TARBALL_ROOT") or "TensorRT-LLM"),
            source=source,
            wheel=wheel,
            package=environ.get("DISAGG_PACKAGE") or "tensorrt_llm",
            build=build,
            build_command=environ.get("DISAGG_BUILD_COMMAND", ""),
            command=environ.get("DISAGG_INSTALL_COMMAND", ""),
            hook=Path(environ["POST_INSTALL_HOOK"]) if environ.get("POST_INSTALL_HOOK") else None,
            work=hashlib.sha256(inputs.encode()).hexdigest()[:12],
        )

    @property
    def empty(self) -> bool:
        return self.mode == "none" and not self.tarball and self.hook is None
