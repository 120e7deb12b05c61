"""Installs once per node: one process of the node does it, the others wait and see its failure at once."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from pytest_disagg.wrapper.archive import unpack
from pytest_disagg.wrapper.claim import FOLDER_VARIABLE, TIMEOUT_S, TIMEOUT_VARIABLE, Claim, Owned, default_folder
from pytest_disagg.wrapper.command import interpret
from pytest_disagg.wrapper.console import WrapperError, say
from pytest_disagg.wrapper.download import ATTEMPT_TIMEOUT_S, DOWNLOAD_FAILED, digest, fetch, is_url
from pytest_disagg.wrapper.package import python
from pytest_disagg.wrapper.recipe import Recipe
from pytest_disagg.wrapper.redaction import redact
from pytest_disagg.wrapper.retry import PAUSE_S, PAUSE_VARIABLE, Attempts, Log, Runner
from pytest_disagg.wrapper.roles import HEARTBEAT_TIMEOUT_S, HEARTBEAT_VARIABLE
from pytest_disagg.wrapper.shared_work import SharedWork
from pytest_disagg.wrapper.step import Step, seconds
from pytest_disagg.wrapper.stopping import Stopped, Stopping
from pytest_disagg.wrapper.supervise import Supervisor

PIP_TIMEOUT_S = 2700.0
PROBE_TIMEOUT_S = 60.0
SOURCE_REQUIREMENTS = ("requirements.txt", "requirements-dev.txt")
TARBALL_REQUIREMENTS = ("src/requirements-dev.txt", "src/requirements-grpc-smg.txt")
TRTLLM_BUILD = ("scripts/build_wheel.py", "--use_ccache", "--cuda_architectures", "100-real", "--clean", "-c")


def install(environ: Mapping[str, str], step: Step, supervisor: Supervisor) -> None:
    """Install what ``environ`` asks for on this node, or wait until another process of it has.

    Raises:
        WrapperError: it failed here or in the process that did it, with the true exit code; or it took too long.
        Stopped: a signal came meanwhile.
    """
    recipe = Recipe.of(environ)
    if recipe.empty:
        say("install: nothing to install (llmTarfile, INSTALL_MODE, DISAGG_INSTALL_COMMAND, POST_INSTALL_HOOK not set)")
        return
    folder = Path(environ[FOLDER_VARIABLE]) if environ.get(FOLDER_VARIABLE) else default_folder()
    timeout_s = seconds(environ, TIMEOUT_VARIABLE, TIMEOUT_S)
    owned = Claim(folder, step, recipe.work).take(timeout_s, supervisor.stopping)
    if owned is None:
        say(f"install: done on node {step.node} by another process")
        return
    with _told(owned), _log(environ, step, folder) as log:
        runner = Runner(supervisor, log, recipe.resource, seconds(environ, PAUSE_VARIABLE, PAUSE_S))
        _Installation(recipe, environ, step, runner, timeout_s).run()
        log.line(f"install: done on node {step.node}")


@contextlib.contextmanager
def _told(owned: Owned) -> Iterator[None]:
    """Tell the processes that wait how it went, whatever way it ends."""
    code, message = 1, "it ended with an error of its own"
    try:
        yield
        code, message = 0, ""
    except WrapperError as error:
        code, message = error.exit_code, str(error)
        raise
    except Stopped as error:
        code, message = 128 + error.number, str(error)
        raise
    finally:
        owned.finish(code, message)
        owned.release()


@contextlib.contextmanager
def _log(environ: Mapping[str, str], step: Step, folder: Path) -> Iterator[Log]:
    """The log of this node, in the job's workspace: ``install_<attempt>_node_<n>.log``."""
    path = (step.workspace or folder) / f"install_{step.attempt}_node_{step.node_id}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    log = Log(path)
    try:
        say(f"install: node {step.node}, log {path}")
        yield log
    finally:
        log.close()


class _Installation:
    def __init__(
        self, recipe: Recipe, environ: Mapping[str, str], step: Step, runner: Runner, timeout_s: float
    ) -> None:
        self.recipe, self.environ, self.step = recipe, environ, step
        self.runner, self.timeout_s = runner, timeout_s
        self.still_s = seconds(environ, HEARTBEAT_VARIABLE, HEARTBEAT_TIMEOUT_S)

    def run(self) -> None:
        self.recipe.resource.mkdir(parents=True, exist_ok=True)
        self.probe()
        if self.recipe.tarball:
            self.unpack(self.archive())
        if self.recipe.build:
            self.build_once()
        modes = {
            "tarball": self.from_tarball,
            "wheel": self.from_wheel,
            "source": self.from_source,
            "command": self.by_command,
        }
        if self.recipe.mode in modes:
            modes[self.recipe.mode]()
        if self.recipe.hook is not None:
            self.hook(self.recipe.hook)

    def probe(self) -> None:
        """The node's GPUs into the log; that there are none, or no nvidia-smi, is no failure."""
        program = shutil.which("nvidia-smi", path=self.environ.get("PATH"))
        for arguments in (("-L",), ("topo", "-m")) if program else ():
            with contextlib.suppress(WrapperError):
                self.runner.run("GPUs", (str(program), *arguments), self.environ, PROBE_TIMEOUT_S)

    def archive(self) -> Path:
        """The tarball as a local file whose checksum is right."""
        recipe = self.recipe
        if is_url(recipe.tarball):
            target = recipe.resource / recipe.archive
            attempts = Attempts(ATTEMPT_TIMEOUT_S, self.runner.pause_s)
            fetch(recipe.tarball, target, recipe.sha256, attempts, self.runner.stopping)
            return target
        path = Path(recipe.tarball)
        if not path.is_file():
            raise WrapperError(f"llmTarfile: found no file {redact(recipe.tarball)}", DOWNLOAD_FAILED)
        found = digest(path) if recipe.sha256 else ""
        if found != recipe.sha256.lower():
            raise WrapperError(f"{path}: found SHA-256 {found}, expected {recipe.sha256.lower()}", DOWNLOAD_FAILED)
        return path

    def unpack(self, archive: Path) -> None:
        count = unpack(archive, self.recipe.resource, self.runner.stopping)
        self.runner.log.line(f"unpacked {archive} into {self.recipe.resource}: {count} members")

    def from_tarball(self) -> None:
        self.requirements(self.recipe.root, TARBALL_REQUIREMENTS)
        self.pip("--force-reinstall", "--no-deps", str(self.one_wheel(self.recipe.root)))

    def from_wheel(self) -> None:
        wheel = self.recipe.wheel or self.one_wheel(self.source / "build")
        if not wheel.is_file():
            raise WrapperError(f"WHEEL_PATH: found no file {wheel}")
        self.pip(str(wheel))

    def from_source(self) -> None:
        """Editable, from a tree that all nodes share: what only reads it at once, what writes into it one by one."""
        self.requirements(self.source, SOURCE_REQUIREMENTS)
        folder = self.step.shared
        if folder is None or self.step.nodes == 1:
            self.pip("--editable", str(self.source))
            return
        turn = SharedWork(folder, self.turn_name(self.step.node_id), self.step)
        self.runner.tick = turn.beat
        before = SharedWork(folder, self.turn_name(self.step.node_id - 1), self.step)

        def work() -> None:
            if self.step.node_id > 0:
                before.wait(*self.limits("the editable install of the node before"), turn.beat)
            self.pip("--editable", str(self.source))

        turn.do(work)
        self.runner.tick = None

    def turn_name(self, node_id: int) -> str:
        return f"source_install_{self.step.attempt}_node_{node_id}_{self.recipe.work}"

    def by_command(self) -> None:
        command = interpret(self.recipe.command, self.environ, "DISAGG_INSTALL_COMMAND")
        self.runner.run("install", command.argv, command.env, self.timeout_s)

    def build_once(self) -> None:
        """Build the wheel on node 0, for all nodes of the job: the tree is shared."""
        folder = self.step.shared
        if folder is None and self.step.nodes > 1:
            raise WrapperError("BUILD_WHEEL: jobWorkspace, a folder that all nodes share, is not set")
        if folder is None:
            self.build()
            return
        work = SharedWork(folder, f"wheel_build_{self.step.attempt}_{self.recipe.work}", self.step)
        if self.step.node_id == 0:
            self.runner.tick = work.beat
            work.do(self.build)
            self.runner.tick = None
        else:
            work.wait(*self.limits("the wheel built on node 0"))

    def build(self) -> None:
        if self.recipe.build_command:
            command = interpret(self.recipe.build_command, self.environ, "DISAGG_BUILD_COMMAND")
            argv, env = command.argv, command.env
        elif (self.source / TRTLLM_BUILD[0]).is_file():
            argv, env = (python(self.environ), *TRTLLM_BUILD), dict(self.environ)
        else:
            argv = (python(self.environ), "-m", "pip", "wheel", "--no-deps", "--wheel-dir", "build", ".")
            env = dict(self.environ)
        self.runner.run("build", argv, env, self.timeout_s, cwd=self.source)

    def limits(self, what: str) -> tuple[str, float, float, Stopping]:
        return what, self.timeout_s, self.still_s, self.runner.stopping

    @property
    def source(self) -> Path:
        if self.recipe.source is None:
            raise WrapperError("llmSrcNode, the source tree, is not set")
        return self.recipe.source

    def requirements(self, folder: Path, names: tuple[str, ...]) -> None:
        for name in names:
            if (folder / name).is_file():
                self.pip("--requirement", str(folder / name))

    def one_wheel(self, folder: Path) -> Path:
        pattern = f"{self.recipe.package}-*.whl"
        found = sorted(folder.glob(pattern))
        if len(found) != 1:
            names = ", ".join(path.name for path in found) or "none"
            raise WrapperError(f"found {names}, expected one wheel {folder / pattern} (DISAGG_PACKAGE, WHEEL_PATH)")
        return found[0]

    def pip(self, *arguments: str) -> None:
        argv = (
            python(self.environ),
            "-m",
            "pip",
            "install",
            "--retries",
            "10",
            "--disable-pip-version-check",
            *arguments,
        )
        self.runner.run("pip", argv, self.environ, PIP_TIMEOUT_S)

    def hook(self, path: Path) -> None:
        """A program, or a script that only lacks its executable bit."""
        if not path.is_file():
            raise WrapperError(f"POST_INSTALL_HOOK: found no file {path}")
        argv = (str(path),) if os.access(str(path), os.X_OK) else ("bash", str(path))
        self.runner.run("post-install hook", argv, self.environ, self.timeout_s)
