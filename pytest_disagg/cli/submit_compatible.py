"""The compatible form of ``disagg submit``: the inputs of TensorRT-LLM's ``submit.py``, under the same option names."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_disagg.cli.measurement import count
from pytest_disagg.cli.profiling import add_profiling_options, ranges_of
from pytest_disagg.errors import ConfigError, Problem, UsageError

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case
    from pytest_disagg.config.settings import Settings
    from pytest_disagg.launch.compat.local import Local
    from pytest_disagg.launch.compat.script import Inputs, Profiling
    from pytest_disagg.launch.lists.entry import Entry

GATE = "slurm_ct_precheck_gate.sh"
"""Functions that TensorRT-LLM's newest draft calls; the file lies beside it."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this form."""
    group = parser.add_argument_group("compatible form")
    group.add_argument("--run-ci", action="store_true", help="the case is in --test-list (implied by it)")
    group.add_argument("--test-list", type=Path, metavar="FILE", help="CI test list, one pytest node id a line")
    group.add_argument(
        "--split-group", type=count, default=0, metavar="N", help="which test of the list, from 1 (default: the first)"
    )
    group.add_argument("--config-yaml", type=Path, metavar="FILE", help="case file, where there is no test list")
    group.add_argument("--test-name", metavar="NAME", help="server of an aggregated --config-yaml")
    group.add_argument("--draft-launch-sh", type=Path, metavar="FILE", help="launch draft (default: the shipped one)")
    group.add_argument("--run-sh", metavar="PATH", help="slurm_run as the nodes see it")
    group.add_argument("--install-sh", metavar="PATH", help="slurm_install as the nodes see it")
    group.add_argument("--script-prefix", type=Path, metavar="FILE", help="#SBATCH lines and exports of the pipeline")
    group.add_argument("--srun-args", type=Path, metavar="FILE", help="srun arguments of every step")
    add_profiling_options(group)


def write_script(options: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Write ``--launch-sh`` and print it, secrets masked.

    Raises:
        ConfigError, UsageError: anything that is wrong with the inputs; then nothing is written.
    """
    from pytest_disagg.launch.compat.script import launch_script
    from pytest_disagg.redact import redact
    from pytest_disagg.rundir.files import write_text

    _check(options)
    given, local = _inputs(options, environ)
    launch = launch_script(given)
    target: Path = options.launch_sh.absolute()
    if not target.parent.is_dir():
        raise UsageError(f"--launch-sh: found no folder {target.parent}, expected one that is there")
    if local is not None:
        local.work_dir.mkdir(parents=True, exist_ok=True)
        write_text(local.test_list, f"{local.node}\n")
    write_text(target, launch.text, mode=0o755)
    for note in launch.notes:
        print(f"disagg submit: {redact(note)}", file=sys.stderr)
    print(f"Launch script generated at: {target}")
    print(f"Launch script:\n{redact(launch.text)}", end="")
    print(f"# {shlex.join(['sbatch', str(target)])}")
    return 0


def _check(options: argparse.Namespace) -> None:
    """What the compatible form cannot do without, and what it has no use for."""
    needed = {"--launch-sh": options.launch_sh, "--run-sh": options.run_sh, "--install-sh": options.install_sh}
    if options.test_list:
        needed |= {"--script-prefix": options.script_prefix, "--srun-args": options.srun_args}
    if options.run_ci and not options.config_yaml:
        needed["--test-list"] = options.test_list
    if missing := [name for name, value in needed.items() if not value]:
        raise UsageError(f"submit: found nothing for {', '.join(missing)}, expected a value for each")
    if options.test_list and options.config_yaml:
        raise UsageError("submit: found --test-list and --config-yaml, expected one of them")
    unused = {
        "--engine": options.engine,
        "--set": options.set,
        "--test": options.test,
        "--client": options.client,
        "--baseline": options.baseline,
        "--repeat": options.repeat,
        "--rehearse-limit": options.rehearse_limit,
    }
    if found := [name for name, value in unused.items() if value]:
        raise UsageError(
            f"submit: found {', '.join(found)}, which only `disagg submit CASE` knows: pytestCommand says it"
        )


def _inputs(options: argparse.Namespace, environ: Mapping[str, str]) -> tuple[Inputs, Local | None]:
    """What the script is made of, and the local job where prefix and srun arguments are made for one."""
    from pytest_disagg.config.cluster import Cluster
    from pytest_disagg.config.cluster_env import load_rules
    from pytest_disagg.launch.compat.script import Inputs
    from pytest_disagg.launch.compat.textfile import TextFile

    local = None
    if options.test_list:
        case = _listed_case(options, environ)
    else:
        case = _file_case(options, environ)
        local = None if _given(options) else _local(options, environ, case)
    if local is None:
        # A pipeline's files say everything else: of the cluster only the name counts, for the variables that it needs.
        cluster = Cluster(name=options.cluster_name or environ.get("SLURM_CLUSTER_NAME", ""))
        prefix = TextFile.read(options.script_prefix, "a script prefix")
        srun_args = TextFile.read(options.srun_args, "srun arguments")
    else:
        cluster = local.cluster
        made = Path("(made from the cluster file)")
        prefix, srun_args = TextFile(made, local.prefix()), TextFile(made, local.srun_args())
    draft = TextFile.read(options.draft_launch_sh, "a launch draft") if options.draft_launch_sh else None
    gate = options.draft_launch_sh.with_name(GATE) if options.draft_launch_sh else None
    given = Inputs(
        case=case,
        run_sh=options.run_sh,
        install_sh=options.install_sh,
        prefix=prefix,
        srun_args=srun_args,
        draft=draft,
        gate=TextFile.read(gate, "functions of the draft") if gate is not None and gate.is_file() else None,
        cluster=cluster,
        rules=load_rules(cluster.environment_rules) if cluster.environment_rules else None,
        profiling=_profiling(options, local),
    )
    return given, local


def _listed_case(options: argparse.Namespace, environ: Mapping[str, str]) -> Case:
    """The case of the test that the job's part of the list is; a waived one is said."""
    from pytest_disagg.cli.common import search_dirs
    from pytest_disagg.config.ids import unwrapped
    from pytest_disagg.config.resolve import load_case
    from pytest_disagg.launch.compat import commandline
    from pytest_disagg.launch.compat.choose import choose, waived
    from pytest_disagg.launch.compat.textfile import TextFile

    prefix = TextFile.read(options.script_prefix, "a script prefix")
    command = commandline.find(prefix.text, prefix.path)
    test = choose(options.test_list, options.split_group, command, options.llm_src)
    reason = waived(test, options.llm_src, options.stage_name)
    if reason is not None:
        print(f"disagg submit: {test.target} is waived, its job will skip it: {reason}", file=sys.stderr)
    try:
        return load_case(
            unwrapped(test.target), dirs=search_dirs(options, environ), settings=_settings(options), environ=environ
        )
    except ConfigError as error:
        raise ConfigError([_located(problem, test) for problem in error.problems]) from None


def _located(problem: Problem, test: Entry) -> Problem:
    """A problem of the test's id is one of its line; one of a file stays that file's."""
    from dataclasses import replace

    return problem if problem.path is not None else replace(problem, path=test.path, line=test.line)


def _file_case(options: argparse.Namespace, environ: Mapping[str, str]) -> Case:
    """The case that ``--config-yaml`` is looked at by; its own mode."""
    from pytest_disagg.config.resolve import load_cases

    if not options.config_yaml.is_file():
        raise UsageError(f"--config-yaml: found no file {options.config_yaml}, expected a case file")
    cases = load_cases(str(options.config_yaml), settings=_settings(options), environ=environ)
    names = [server.name for case in cases for server in case.servers]
    if options.test_name is not None:
        cases = [case for case in cases if [server.name for server in case.servers] == [options.test_name]]
    if len(cases) != 1:
        found = "nothing" if options.test_name is None else repr(options.test_name)
        raise UsageError(f"--test-name: found {found}, expected one of {', '.join(names)}")
    return cases[0]


def _given(options: argparse.Namespace) -> bool:
    """Whether prefix and srun arguments are given; one alone is none."""
    given = [bool(options.script_prefix), bool(options.srun_args)]
    if any(given) and not all(given):
        raise UsageError("submit: found one of --script-prefix and --srun-args, expected both or none")
    return all(given)


def _local(options: argparse.Namespace, environ: Mapping[str, str], case: Case) -> Local:
    """The job that is made from the cluster file."""
    from pytest_disagg.cli.slurm import cluster_of, work_dir_of
    from pytest_disagg.launch.compat.local import Local

    cluster = cluster_of(options, environ)
    llm_src = options.llm_src or cluster.llm_src
    if llm_src is None:
        raise UsageError("submit: found no --llm-src, expected the TensorRT-LLM checkout whose test is to run")
    models_root = options.models_root or cluster.models_root or environ.get("LLM_MODELS_ROOT") or None
    return Local(
        case=case,
        cluster=cluster,
        work_dir=work_dir_of(options, cluster, environ),
        llm_src=Path(llm_src).absolute(),
        models_root=Path(models_root).absolute() if models_root else None,
        stage_name=options.stage_name,
    )


def _profiling(options: argparse.Namespace, local: Local | None) -> Profiling | None:
    """What to profile; reports go to the work directory of a local job, else beside the script."""
    from pytest_disagg.launch.compat.script import Profiling

    ranges = ranges_of(options)
    if not ranges:
        return None
    folder = options.launch_sh.absolute().parent if local is None else local.work_dir
    return Profiling(folder=str(folder), alone=ranges["server"], ctx=ranges["ctx"], gen=ranges["gen"])


def _settings(options: argparse.Namespace) -> Settings:
    from pytest_disagg.config.settings import Settings

    return Settings(llm_src=options.llm_src, models_root=options.models_root)
