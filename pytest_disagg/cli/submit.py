"""``disagg submit``: writes the script of a job and submits nothing."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from pytest_disagg.errors import UsageError


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from pytest_disagg.cli.common import add_case_options
    from pytest_disagg.cli.measurement import add_measurement_options
    from pytest_disagg.cli.slurm import add_cluster_options
    from pytest_disagg.cli.submit_compatible import add_options

    parser = subparsers.add_parser(
        "submit",
        help="write the launch script of a Slurm job; submits nothing",
        description="Write the launch script of a Slurm job. With --test-list or --config-yaml: from the inputs of "
        "TensorRT-LLM's submit.py, under the same option names. With CASE: from case and cluster file alone, what "
        "disagg run submits. With --export-wrapper: the programs that run inside each step.",
    )
    parser.add_argument("target", nargs="*", metavar="CASE", help="case file, its bare name, or a full test id")
    parser.add_argument("--launch-sh", type=Path, metavar="FILE", help="the script to write")
    parser.add_argument(
        "--export-wrapper", type=Path, metavar="DIR", help="write slurm_run and slurm_install into DIR, for any node"
    )
    parser.add_argument("--stage-name", default="", metavar="NAME", help="name of the CI stage")
    add_options(parser)
    parser.add_argument("--test", metavar="FILE[::NAME]", help="test module whose test plays the roles (with CASE)")
    add_measurement_options(parser, "measurement (with CASE)")
    add_case_options(parser)
    add_cluster_options(parser)
    parser.set_defaults(func=run)


def run(options: argparse.Namespace) -> int:
    """Write what was asked for.

    Raises:
        ConfigError, UsageError: anything that is wrong with the inputs; then no script is written.
    """
    compatible = bool(options.test_list or options.config_yaml or options.run_ci)
    forms = [bool(options.export_wrapper), compatible, bool(options.target)]
    if sum(forms) != 1:
        raise UsageError(
            "submit: expected one of CASE, --test-list or --config-yaml, --export-wrapper; found "
            + (f"{sum(forms)} of them" if sum(forms) else "none")
        )
    if options.export_wrapper:
        return _export_wrapper(options.export_wrapper)
    if compatible:
        from pytest_disagg.cli.submit_compatible import write_script

        return write_script(options, os.environ)
    return _own(options, os.environ)


def _export_wrapper(folder: Path) -> int:
    import subprocess

    argv = [sys.executable, "-m", "pytest_disagg.wrapper.export", str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UsageError(f"--export-wrapper: cannot write into {folder}: {reason}")
    print(done.stdout, end="")
    return 0


def _own(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """The form of ``disagg run``: job folder and script, and the line that would submit it."""
    from pytest_disagg.cli.run_wanted import cases_of, wanted_of
    from pytest_disagg.cli.slurm import cluster_of, work_dir_of
    from pytest_disagg.launch.slurm import submit
    from pytest_disagg.rundir.files import write_text

    cluster = cluster_of(options, environ)
    work_dir = work_dir_of(options, cluster, environ)
    cases = cases_of(options, cluster, environ)
    if options.launch_sh and len(cases) != 1:
        raise UsageError(f"--launch-sh: found {len(cases)} cases, expected one: it names one script")
    prepared = [submit.prepare(wanted_of(case, cluster, work_dir, options, environ)) for case in cases]
    for line in dict.fromkeys(line for each in prepared for line in each.left_out):
        print(line)
    for each in prepared:
        submit.write(each)
        script = each.folder.script
        if options.launch_sh:
            script = options.launch_sh.absolute()
            write_text(script, each.text, mode=0o755)
        where = (f"--chdir={each.folder.path}", f"--output={submit.log_pattern(each.folder.path)}")
        print(f"{each.submission.case}: {script}")
        print(shlex.join(["sbatch", *where, str(script)]))
    return 0
