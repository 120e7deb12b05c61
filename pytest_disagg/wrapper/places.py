"""The folders of a task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pytest_disagg.wrapper.console import WrapperError

CWD_VARIABLE = "DISAGG_STEP_CWD"
TESTS = "tests/integration/defs"


class Places:
    """The folders of a task. ``llm_src`` is an exported llmSrcNode, else what the tarball unpacks to, else None."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        resource = environ.get("resourcePathNode", "")
        exported = environ.get("llmSrcNode", "")
        self.resource = Path(resource) if resource else None
        self.llm_src: Path | None = None
        if exported:
            self.llm_src = Path(exported)
        elif self.resource is not None:
            self.llm_src = self.resource / (environ.get("DISAGG_TARBALL_ROOT") or "TensorRT-LLM") / "src"
        self.cwd = Path.cwd()
        if environ.get(CWD_VARIABLE):
            self.cwd = Path(environ[CWD_VARIABLE])
        elif self.llm_src is not None:
            self.cwd = self.llm_src / TESTS

    def check(self) -> None:
        """Raises WrapperError where the command's folder is not there: after installing, it must be."""
        if not self.cwd.is_dir():
            raise WrapperError(
                f"the command's folder {self.cwd} is not there (made of llmSrcNode, else resourcePathNode; "
                f"{CWD_VARIABLE} names another)"
            )
