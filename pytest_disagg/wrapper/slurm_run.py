#!/usr/bin/env python3
"""slurm_run: what runs inside each step of a job: prepares the node, runs the step's command, says how it ended.

It takes no arguments; all inputs are environment variables. The exit code is the command's (128 + n after signal n),
else the perf check's, else the perf report's.

the command
  pytestCommand                 command text: unset A && export K=V && K=V program words; no shell runs it
  DISAGG_PLACEHOLDER_<KEY>      value of __PLACEHOLDER_<KEY>__ in it (TRTLLM_WHL_PATH, PACKAGE_PATH are known)
  DISAGG_STEP_CWD               where it runs (default: tests/integration/defs of llmSrcNode, else here)
  DISAGG_RANKS                  all, or leader: only rank 0 runs it, other ranks wait for rank 0
  DISAGG_STOP_GRACE_S           seconds between TERM and KILL (10); must be less than Slurm's KillWait
who and where
  DISAGG_SERVING_TYPE           the role; unset: an aggregated case, and this step installs first
  DISAGG_RUN_DIR                run directory, for exit files and heartbeats
  DISAGG_HEARTBEAT_TIMEOUT_S    a rank whose beat stands still for so long is gone (10)
  DISAGG_BARRIER_TIMEOUT_S      how long ranks wait for each other before the command (3600)
  jobWorkspace                  folder that all nodes of the job share
  resourcePathNode, llmSrcNode  node-local folder; source tree (default: TensorRT-LLM/src in it)
  stageName, perfMode           CI stage; true: check and report performance after pytest
  DISAGG_PERF_CHECK_COMMAND, DISAGG_PERF_REPORT_COMMAND   instead of TensorRT-LLM's scripts
  coverageConfigFile            coverage template; each step uses a filled copy
  DISAGG_PACKAGE, DISAGG_PACKAGE_LIBS   package under test (tensorrt_llm, <package>/libs)
  DISAGG_PYTHON                 the Python that has it (python3 on PATH)
  installScript                 program to run instead of the built-in installation
"""

from __future__ import annotations

import os
import sys

if not __package__:  # Started as a file: nothing is installed yet, and this folder must not hide the standard library.
    _here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
    sys.path[:] = [os.path.dirname(os.path.dirname(_here)), *(entry for entry in sys.path if entry != _here)]  # noqa: PTH120

from pytest_disagg.wrapper.console import WrapperError, say
from pytest_disagg.wrapper.guarding import guarded
from pytest_disagg.wrapper.step import Step
from pytest_disagg.wrapper.task import Task

USAGE = 2


def main() -> int:
    """Run this task of the step and return its exit code."""
    arguments = sys.argv[1:]
    if arguments in (["-h"], ["--help"]):
        sys.stdout.write(__doc__ or "")
        return 0
    if arguments:
        say(f"slurm_run: found arguments {arguments}, expected none (--help lists its environment variables)")
        return USAGE
    environ = dict(os.environ)
    try:
        task = Task(environ, Step.of(environ))
    except WrapperError as error:
        say(f"slurm_run: {error}")
        return error.exit_code
    return guarded(task.run, task.lost)


if __name__ == "__main__":
    sys.exit(main())
