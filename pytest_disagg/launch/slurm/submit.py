"""From a case to a job that Slurm has taken: its folder, ``slurm_run`` beside the script, the script, ``sbatch``."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_disagg.config.case import Case
from pytest_disagg.config.cluster import Cluster
from pytest_disagg.config.cluster_env import load_rules
from pytest_disagg.errors import DisaggError, RunError
from pytest_disagg.launch.command import (
    DROPPED_PREFIXES,
    DROPPED_VARIABLES,
    PytestCommand,
    generated_test,
)
from pytest_disagg.launch.slurm import client, launched
from pytest_disagg.launch.slurm.checks import PROGRAM as NODE_CHECK
from pytest_disagg.launch.slurm.containers import needed_paths
from pytest_disagg.launch.slurm.jobdir import JobDir
from pytest_disagg.launch.slurm.plan import JobInput, plan_job
from pytest_disagg.launch.slurm.script import render
from pytest_disagg.launch.slurm.spec import JobSpec
from pytest_disagg.launch.slurm.submission import Submission

STANDBY = "Slurm backup controller in standby mode"
"""The one failure of sbatch that says for sure that the job was not taken and that another attempt may be."""
STANDBY_ATTEMPTS, STANDBY_PAUSE_S = 6, 30.0
KEPT_SLURM_VARIABLES = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")
TEST_NAME = "perf_sanity.py"
"""No name that pytest looks for: work directories often lie below a project that has tests of its own."""


@dataclass(frozen=True)
class Wanted:
    """A case to be run as a job. ``test`` is the user's test module, None for one that is made here.

    ``options`` are the ``--disagg-*`` words of every role, ``visible`` the folders that nodes must see,
    ``profiling`` what nsys profiles, see :class:`.plan.JobInput`. ``environ`` lies over the environment of the command.
    ``cluster_file`` and ``retries`` are kept for whoever wants the same job again. ``exclude`` are nodes that it is not
    to get, ``left_out`` says of those in quarantine why, ``quarantine`` is the file that says so.
    """

    case: Case
    cluster: Cluster
    work_dir: Path
    options: tuple[str, ...]
    test: Path | None = None
    test_name: str = "test_e2e"
    rootdir: Path | None = None
    visible: tuple[Path, ...] = ()
    exclude: tuple[str, ...] = ()
    profiling: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    cluster_file: Path | None = None
    retries: int = 0
    left_out: tuple[str, ...] = ()
    quarantine: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """A job that is ready to be written and submitted. ``text`` is its script; nothing of it exists yet."""

    folder: JobDir
    spec: JobSpec
    submission: Submission
    text: str
    own_test: bool
    visible: tuple[Path, ...] = ()
    launch: Mapping[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def prepare(wanted: Wanted) -> Prepared:
    """Plan the job and render its script. Writes nothing, asks nothing of Slurm.

    Raises:
        ConfigError, UsageError: see :func:`.plan.plan_job` and :func:`.script.render`.
    """
    folder = JobDir.new(wanted.work_dir)
    command = _command(wanted, folder)
    python = wanted.cluster.python or sys.executable
    given = JobInput(
        job_dir=folder.path,
        work_dir=wanted.work_dir,
        command=command,
        python=python,
        program=(python, str(folder.programs / "slurm_run")),
        install_program=(python, str(folder.programs / "slurm_install")),
        check_program=(python, str(folder.programs / NODE_CHECK.name)),
        token_file=folder.run_id_file,
        visible=_visible(wanted, command),
        exclude=wanted.exclude,
        profiling=wanted.profiling,
    )
    rules = load_rules(wanted.cluster.environment_rules) if wanted.cluster.environment_rules else None
    spec = plan_job(wanted.case, wanted.cluster, rules, given)
    submission = Submission(
        case=wanted.case.id.text,
        work_dir=str(wanted.work_dir),
        cluster=wanted.cluster.name,
        roles=tuple(step.role for step in spec.steps),
        tasks={step.role: step.tasks for step in spec.steps},
        heartbeat_timeout_s=spec.heartbeat_timeout_s,
        test=command.node,
        gpus=spec.nodes * spec.gpus_per_node,
        quarantine=str(wanted.quarantine) if wanted.quarantine and not wanted.case.rehearsal else "",
    )
    return Prepared(
        folder,
        spec,
        submission,
        render(spec),
        own_test=wanted.test is None,
        visible=wanted.visible,
        launch=launched.launched(wanted),
        left_out=wanted.left_out,
    )


def write(prepared: Prepared) -> None:
    """Make the job's folder with everything that the job needs.

    Raises:
        DisaggError: ``slurm_run`` cannot be written there.
    """
    folder = prepared.folder
    folder.path.mkdir(parents=True)
    for path in prepared.visible:
        path.mkdir(parents=True, exist_ok=True)  # a container cannot mount what is not there
    if prepared.own_test:
        generated_test(folder.path, TEST_NAME)
    _export_programs(folder.programs)
    shutil.copyfile(NODE_CHECK, folder.programs / NODE_CHECK.name)
    prepared.submission.write(folder)
    launched.write(folder, prepared.launch)
    # The environment that a case file gives to its servers stands in it, as it is.
    folder.script.touch(mode=0o700)
    folder.script.write_text(prepared.text, encoding="utf-8")


def submit(prepared: Prepared, environ: Mapping[str, str], *, pause: Callable[[float], None] = time.sleep) -> str:
    """Hand the written job to Slurm; its id.

    Raises:
        RunError: sbatch did not take it, with what it said.
    """
    folder = prepared.folder
    # Paths go past the script: an #SBATCH line cannot hold every path.
    where = (f"--chdir={folder.path}", f"--output={log_pattern(folder.path)}")
    argv = ["sbatch", "--parsable", *where, str(folder.script)]
    for attempt in range(1, STANDBY_ATTEMPTS + 1):
        try:
            said = client.call(argv, timeout_s=120.0, env=submit_environment(environ))
            break
        except client.SlurmError as error:
            if STANDBY not in str(error) or attempt == STANDBY_ATTEMPTS:
                without = "".join(f"; {line}" for line in prepared.left_out)
                raise RunError(
                    f"{prepared.submission.case}: {error}{without}; script: {prepared.folder.script}",
                    kind="infrastructure",
                    stage="launch",
                ) from error
            pause(STANDBY_PAUSE_S)
    job_id = said.strip().splitlines()[-1].partition(";")[0] if said.strip() else ""
    if not job_id.isdecimal():
        raise RunError(f"sbatch said {said!r}, expected a job id", kind="infrastructure", stage="launch")
    prepared.folder.link(Path(prepared.submission.work_dir), job_id)
    return job_id


def log_pattern(folder: Path) -> str:
    """The job's log as sbatch takes it: a pattern, in which a ``%`` of the path is doubled. A backslash anywhere turns
    patterns off, so below such a path the log has a plain name; the job script links it."""
    text = str(folder)
    if "\\" in text:
        return text.replace("\\", "\\\\") + "/slurm.log"
    return text.replace("%", "%%") + "/slurm_%j.log"


def submit_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of sbatch, and so of the job: without another job's, another run's and other pytest sessions'."""
    return {
        name: value
        for name, value in environ.items()
        if name in KEPT_SLURM_VARIABLES
        or not (
            name in (*DROPPED_VARIABLES, "DISAGG_RUN_ID", "DISAGG_SERVING_TYPE", "DISAGG_DEADLINE")
            or name.startswith(("SLURM", "SBATCH_", "SRUN_", *DROPPED_PREFIXES))
        )
    }


def _command(wanted: Wanted, folder: JobDir) -> PytestCommand:
    name = f"{wanted.test_name}[{wanted.case.id.text}]"
    if wanted.test is None:
        return PytestCommand(f"{TEST_NAME}::{name}", folder.path, folder.path / "pytest.ini", wanted.options)
    root = wanted.rootdir or wanted.test.parent
    # Steps start there, so the path can be relative: to pytest a [ of the path would begin the test's parameters.
    file = wanted.test.relative_to(root) if wanted.test.is_relative_to(root) else wanted.test
    return PytestCommand(f"{file}::{name}", root, None, wanted.options)


def _export_programs(target: Path) -> None:
    """``slurm_run`` and ``slurm_install`` beside the script: they run before anything is installed on a node."""
    argv = [sys.executable, "-m", "pytest_disagg.wrapper.export", str(target)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DisaggError(f"cannot write slurm_run into {target}: {done.stderr.strip()}")


def _visible(wanted: Wanted, command: PytestCommand) -> tuple[Path, ...]:
    """Folders that a container has to mount: the environment, our source, the test's project, the case, the models."""
    paths = [*wanted.visible, command.rootdir, wanted.case.path.parent, *needed_paths(wanted.cluster)]
    return tuple(path.resolve() for path in paths)
