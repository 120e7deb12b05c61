#!/usr/bin/env python3
"""slurm_install: installs once per node what the steps of a job need, before any of them starts.

It takes no arguments; all inputs are environment variables. Every task of the step runs it: one of a node does the
work, the others wait and fail with it. The exit code is that of the command that failed, 124 for one that took
too long.

what
  llmTarfile, tarName           tarball: URL or path, and the file name it is kept under
  DISAGG_TARBALL_SHA256         checksum it must have
  DISAGG_TARBALL_ROOT           folder it unpacks to, with the wheel in it (TensorRT-LLM)
  resourcePathNode              node-local folder it is unpacked in (/tmp)
  INSTALL_MODE                  wheel, source (editable, from llmSrcNode), none; unset: the tarball's wheel
  WHEEL_PATH                    the wheel (default: the one in llmSrcNode/build)
  BUILD_WHEEL, DISAGG_BUILD_COMMAND     true: build it first, once for all nodes; with which command
  DISAGG_INSTALL_COMMAND        command text to run instead
  POST_INSTALL_HOOK             program to run on each node afterwards
  DISAGG_PACKAGE                package whose wheel it is (tensorrt_llm)
  DISAGG_PYTHON                 the Python that it is installed into (python3 on PATH)
  GITHUB_CLONE_TOKEN            for requirements that are cloned from github.com
how
  jobWorkspace                  folder that all nodes share; holds install_<attempt>_node_<n>.log
  DISAGG_CLAIM_DIR              node-local folder for claims (a private one in /tmp)
  DISAGG_INSTALL_TIMEOUT_S      how long it may take, and how long others wait (3600)
  DISAGG_RETRY_PAUSE_S          pause before another attempt after a network failure (10)
"""

from __future__ import annotations

import os
import sys

if not __package__:  # Started as a file: nothing is installed yet, and this folder must not hide the standard library.
    _here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    sys.path[:] = [os.path.dirname(os.path.dirname(_here)), *(entry for entry in sys.path if entry != _here)]  # noqa: PTH120

import tempfile
from pathlib import Path

from pytest_disagg.wrapper.console import WrapperError, say
from pytest_disagg.wrapper.gitconfig import use_own_config
from pytest_disagg.wrapper.guarding import guarded
from pytest_disagg.wrapper.installing import install
from pytest_disagg.wrapper.step import Step, seconds
from pytest_disagg.wrapper.stopping import Stopped, Stopping
from pytest_disagg.wrapper.supervise import Supervisor

USAGE = 2
GRACE_VARIABLE, GRACE_S = "DISAGG_STOP_GRACE_S", 10.0


def main() -> int:
    """Install on this node, or wait until another task has; the exit code."""
    arguments = sys.argv[1:]
    if arguments in (["-h"], ["--help"]):
        sys.stdout.write(__doc__ or "")
        return 0
    if arguments:
        say(f"slurm_install: found arguments {arguments}, expected none (--help lists its environment variables)")
        return USAGE
    environ = dict(os.environ)

    def work(stopping: Stopping) -> int:
        try:
            supervisor = Supervisor(stopping, seconds(environ, GRACE_VARIABLE, GRACE_S))
            with tempfile.TemporaryDirectory(prefix="slurm_install.") as private:
                use_own_config(environ, Path(private))
                install(environ, step, supervisor)
        except WrapperError as error:
            say(f"slurm_install: {step.title}: {error}")
            return error.exit_code
        except Stopped as error:
            say(f"slurm_install: {step.title}: {error}")
            return 128 + error.number
        return 0

    try:
        step = Step.of(environ)
    except WrapperError as error:
        say(f"slurm_install: {error}")
        return error.exit_code
    return guarded(work, lambda code: None)


if __name__ == "__main__":
    sys.exit(main())
