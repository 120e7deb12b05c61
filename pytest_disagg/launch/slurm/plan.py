"""From a case and a cluster to a job. Pure: paths are given, no host, clock or environment is looked at."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pytest_disagg.config.case import Case, ServerSpec
from pytest_disagg.config.cluster import Cluster
from pytest_disagg.config.cluster_env import EnvironmentChange, Rules, environment_of
from pytest_disagg.engines import registry as engines
from pytest_disagg.engines.protocol import Engine
from pytest_disagg.errors import ConfigError, Problem, UsageError
from pytest_disagg.launch.command import PytestCommand, value_in
from pytest_disagg.launch.nsys import DEFAULT_RANGE
from pytest_disagg.launch.slurm import checks
from pytest_disagg.launch.slurm.containers import container_of
from pytest_disagg.launch.slurm.roletext import environment_text, profiler_text, pytest_text, references_text
from pytest_disagg.launch.slurm.spec import BESIDE, JobSpec, Precheck, Step
from pytest_disagg.rundir.layout import safe_name
from pytest_disagg.topology.deadlines import Deadlines, deadlines
from pytest_disagg.topology.filled import check_filled
from pytest_disagg.topology.placement import COORDINATOR_NODE, Placement, ServerPlacement, place

SIGNAL_RESOLUTION_S = 60.0
"""Slurm sends ``--signal`` up to a minute earlier than asked."""
WRITE_S = 5.0
"""What the job script needs to write the outcome once every step has ended."""
CHECK_S = 60.0
"""The limit of the node check, which takes well under a second where no file system hangs."""
ALONE = "BENCHMARK"
"""The step of a case that one process plays alone has the name of the role that owns the results."""


@dataclass(frozen=True)
class JobInput:
    """What the case and the cluster do not say. ``python`` runs pytest on the nodes, ``program`` is ``slurm_run``,
    ``check_program`` is :mod:`.node_check` with ``token_file`` for it to read. ``profiling`` maps ``ctx``, ``gen`` and
    ``server`` (an aggregated case) to the iterations that nsys profiles; a case with ``profiling.nsys_on`` needs none.
    """

    job_dir: Path
    work_dir: Path
    command: PytestCommand
    python: str
    program: tuple[str, ...]
    install_program: tuple[str, ...] = ()
    check_program: tuple[str, ...] = ()
    token_file: Path = Path("run_id")
    visible: tuple[Path, ...] = ()
    exclude: tuple[str, ...] = ()
    requeue: bool = False
    profiling: Mapping[str, str] = field(default_factory=dict)


def plan_job(case: Case, cluster: Cluster, rules: Rules | None, given: JobInput) -> JobSpec:
    """The job of ``case`` on ``cluster``.

    Raises:
        ConfigError: the case needs more GPUs a node than there are, or more time than the job may take, or holds a
            placeholder that nobody filled.
        UsageError: a path or an option that cannot be passed on.
    """
    check_filled(case)
    engines.get(case.engine).check(case)
    placement = place(case)
    _check_gpus(case, cluster)
    held = (_holding_clocks(step, case, given.python) for step in _steps(case, cluster, rules, placement))
    steps = tuple(_profiled(held, case, given.profiling))
    container = container_of(cluster, (given.work_dir, *given.visible), given.command.rootdir)
    precheck = _precheck(case, steps)
    prepare_s = cluster.install.timeout_s * (cluster.install.needed + (container.image_import is not None))
    asked = int(value_in(given.command.options, "repeat") or 1)
    repeats = engines.get(case.engine).probe_policy(case.id.mode).repeats(asked)
    before_s = prepare_s + CHECK_S + (precheck.timeout_s if precheck else 0.0)
    times = _times(case, cluster, repeats=repeats, before_s=before_s)
    tasks_per_node = max(sum(step.task_nodes.count(node) for step in steps) for node in range(placement.total_nodes))
    own = _directives(case, cluster, given, placement.total_nodes, tasks_per_node, times)
    check = checks.of_job(case, cluster, given.token_file, given.command.options)
    install: tuple[str, ...] = ()
    if cluster.install.needed:
        inputs = (f"{name}={value}" for name, value in install_inputs(cluster).items())
        install = (*container.prefix, "env", *inputs, *given.install_program)
    return JobSpec(
        case_id=case.id.text,
        case_folder=safe_name(case.id.text),
        job_dir=given.job_dir,
        work_dir=given.work_dir,
        cwd=given.command.rootdir,
        nodes=placement.total_nodes,
        gpus_per_node=_gpus_held(case, cluster),
        tasks_per_node=tasks_per_node,
        directives=merged_options(own, _also_excluding(cluster, given.exclude), cluster.strip),
        limit_s=times.limit_s,
        lead_s=times.lead_s,
        signal_s=times.signal_s,
        stop_s=times.limits.stop_s + times.limits.grace_s,
        grace_s=times.limits.grace_s,
        heartbeat_timeout_s=times.limits.heartbeat_timeout_s,
        steps=steps,
        pytest=pytest_text(given.command, given.python),
        program=(*container.prefix, *given.program),
        python=given.python,
        common=merged_options(("--export=ALL", *container.options), cluster.srun, cluster.strip),
        container=cluster.container,
        image_import=container.image_import,
        install=install,
        prepare_s=cluster.install.timeout_s,
        check=(*container.prefix, *given.check_program, check.text()),
        check_s=CHECK_S,
        precheck=precheck,
        cluster=cluster.name,
    )


def install_inputs(cluster: Cluster) -> dict[str, str]:
    """What ``slurm_install`` is told: its inputs are environment variables."""
    install = cluster.install
    inputs = {"DISAGG_INSTALL_TIMEOUT_S": f"{install.timeout_s:g}"}
    if install.command is not None:
        inputs["DISAGG_INSTALL_COMMAND"] = shlex.join(install.command)
    if install.wheel is not None:
        inputs |= {"INSTALL_MODE": "wheel", "WHEEL_PATH": str(install.wheel)}
    if install.source is not None:
        inputs |= {"INSTALL_MODE": "source", "llmSrcNode": str(install.source)}
    if install.tarball is not None:
        inputs["llmTarfile"] = install.tarball
    if install.sha256 is not None:
        inputs["DISAGG_TARBALL_SHA256"] = install.sha256
    return inputs


def merged_options(own: Iterable[str], more: Iterable[str], strip: Iterable[str]) -> tuple[str, ...]:
    """``own`` options without those that ``more`` gives too, then ``more``; none whose name is in ``strip``."""
    theirs = tuple(more)
    given = {_name(option) for option in theirs}
    left_out = {_name(option) for option in strip}
    kept = [*(option for option in own if _name(option) not in given), *theirs]
    return tuple(option for option in kept if _name(option) not in left_out)


def _also_excluding(cluster: Cluster, nodes: Sequence[str]) -> Iterable[str]:
    """The cluster's sbatch options; one that excludes nodes excludes these, too: sbatch heeds only one such option.

    Raises:
        UsageError: it names a file of nodes, to which none can be added.
    """
    for option in cluster.sbatch:
        theirs = re.fullmatch(r"(?:--exclude=|-x\s*)(.+)", option)
        if theirs is None or not nodes:
            yield option
            continue
        if "/" in theirs[1]:
            others = ",".join(nodes)
            raise UsageError(f"sbatch option {option!r}: found a file, expected node names: {others} are left out, too")
        yield f"--exclude={','.join((theirs[1], *nodes))}"


def _name(option: str) -> str:
    return option.partition("=")[0].strip()


@dataclass(frozen=True)
class _Times:
    limits: Deadlines
    limit_s: float
    lead_s: float
    signal_s: float


def _times(case: Case, cluster: Cluster, *, repeats: int, before_s: float) -> _Times:
    """Run < lead before the limit < Slurm's limit: every stage of the run has ended before Slurm ends the job.

    ``before_s`` is what the steps before the roles may take together.
    """
    limits = deadlines(case, repeats=repeats)
    signal_s = math.ceil(limits.grace_s + WRITE_S)
    for option in cluster.sbatch:
        if found := re.fullmatch(r"--signal=.*@(\d+)", option):
            signal_s = int(found[1])
    lead_s = max(limits.stop_s + limits.grace_s + WRITE_S, math.ceil(limits.grace_s + WRITE_S) + SIGNAL_RESOLUTION_S)
    limit_s = cluster.time_limit or case.job_time_s
    if limit_s is None:
        limit_s = 60.0 * math.ceil((limits.total_s + before_s + lead_s) / 60.0)
    # A given limit holds all steps together: what the one takes is not left for the other, see DISAGG_DEADLINE.
    left_s = limit_s - lead_s
    if left_s <= 0:
        path, key = (None, "time_limit") if cluster.time_limit else (case.path, "slurm.job_time")
        raise ConfigError(
            [Problem(path, None, key, f"{limit_s:g} s", f"more than {lead_s:g} s, which it takes to stop")]
        )
    return _Times(deadlines(case, repeats=repeats, external_s=left_s), limit_s, lead_s, signal_s)


def _check_gpus(case: Case, cluster: Cluster) -> None:
    if cluster.gpus_per_node is not None and case.gpus_per_node > cluster.gpus_per_node:
        expected = f"at most {cluster.gpus_per_node}, what a node of cluster {cluster.name or 'default'!r} has"
        raise ConfigError([Problem(case.path, None, "hardware.gpus_per_node", str(case.gpus_per_node), expected)])


def _gpus_held(case: Case, cluster: Cluster) -> int:
    """GPUs that a job holds on each node: those it asks for; where Slurm is not asked for any, all that a node has."""
    asked = cluster.gpu_request in ("gres", "gpus-per-node")
    return case.gpus_per_node if asked else cluster.gpus_per_node or case.gpus_per_node


def _directives(
    case: Case, cluster: Cluster, given: JobInput, nodes: int, tasks_per_node: int, times: _Times
) -> list[str]:
    options = [
        f"--job-name={case.id.text}",
        "--open-mode=append",
        f"--nodes={nodes}",
        f"--ntasks={nodes * tasks_per_node}",
        f"--ntasks-per-node={tasks_per_node}",
        f"--time={math.ceil(times.limit_s / 60.0)}",
        f"--signal=B:TERM@{times.signal_s:g}",
        "--requeue" if given.requeue or cluster.requeue else "--no-requeue",
    ]
    gpus = {"gres": f"--gres=gpu:{case.gpus_per_node}", "gpus-per-node": f"--gpus-per-node={case.gpus_per_node}"}
    options += [gpus[cluster.gpu_request]] if cluster.gpu_request in gpus else []
    options += [f"--partition={cluster.partition}"] if cluster.partition else []
    options += [f"--account={cluster.account}"] if cluster.account else []
    options += [f"--exclude={','.join(given.exclude)}"] if given.exclude else []
    return options


def _steps(case: Case, cluster: Cluster, rules: Rules | None, placement: Placement) -> Iterable[Step]:
    mpi = (f"--mpi={cluster.mpi}",) if cluster.mpi else ()
    engine = engines.get(case.engine)
    if placement.alone:
        largest = max(placement.servers, key=lambda server: server.world_size)
        around = engine.around_pytest(case, largest.spec)
        if around and len(placement.servers) > 1:
            expected = f"one server: {around[0]} starts the ranks of one. Select it by its name"
            raise ConfigError([Problem(case.path, None, case.id.text, f"{len(placement.servers)} servers", expected)])
        change = environment_of(cluster, largest.role, rules)
        before = _before(case, engine, largest.spec, change)
        tasks, every = _tasks(case, engine, largest)
        yield Step(ALONE, tasks, *before, mpi, every_rank=every)
        return
    users = [node for server in placement.servers for node in server.nodes]
    for server in placement.servers:
        shared = any(users.count(node) > 1 for node in server.nodes)
        gpus = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, server.shares[0].gpus))} if shared else {}
        change = environment_of(cluster, server.role, rules)
        before = _before(case, engine, server.spec, replace(change, set={**change.set, **gpus}))
        tasks, every = _tasks(case, engine, server)
        yield Step(server.role, tasks, *before, (*mpi, *(("--overlap",) if shared else ())), every_rank=every)
    for role in BESIDE:
        prefix = environment_text(environment_of(cluster, role, rules))
        yield Step(role, (COORDINATOR_NODE,), prefix, options=("--overlap",))


def _before(case: Case, engine: Engine, spec: ServerSpec, change: EnvironmentChange) -> tuple[str, str]:
    """Prefix and launcher of a server's step.

    Under a launcher the ranks beside rank 0 are the engine's own processes: what a server needs in its environment
    each of them needs, so it stands before the launcher. Else the role gives it to the server that it starts.
    """
    launcher = shlex.join(engine.around_pytest(case, spec))
    if not launcher:
        return environment_text(change), ""
    own = environment_text(EnvironmentChange(set=dict(spec.env)))
    return " ".join(
        filter(None, (environment_text(change), references_text(engine.environment(case, spec)), own))
    ), launcher


def _holding_clocks(step: Step, case: Case, python: str) -> Step:
    """The step with its clocks locked on the nodes too where the launcher, and no role, starts the ranks."""
    if case.clocks is None or not step.launcher or len(step.nodes) == 1:
        return step
    request = json.dumps({**case.clocks.model_dump(), "timeout_s": case.machine.timeout_s})
    words = shlex.join([python, "-m", "pytest_disagg.machine.holding", request, "--"])
    return replace(step, launcher=f"{words} {step.launcher}")


def _profiled(steps: Iterable[Step], case: Case, ranges: Mapping[str, str]) -> Iterable[Step]:
    """The steps of servers under nsys, where the case or whoever runs it asks for that."""
    asked: dict[str, str] = {spec.kind: DEFAULT_RANGE for spec in case.servers} if case.nsys else {}
    by_kind = {**asked, **ranges}
    for step in steps:
        alone = case.id.runtime == "alone"
        kind = "server" if alone else step.role.partition("_")[0].lower()
        profiled = kind in by_kind and (alone or step.role not in BESIDE)
        yield replace(step, profiler=profiler_text(by_kind[kind])) if profiled else step


def _precheck(case: Case, steps: Iterable[Step]) -> Precheck | None:
    """The check on the slices of the servers, with their options and in their environment."""
    if case.precheck is None:
        return None
    env = {spec.kind.upper(): spec.env for spec in case.servers}
    checked: list[Step] = []
    for step in steps:
        role = "SERVER" if case.id.runtime == "alone" else step.role
        if role not in BESIDE:
            # What the case says lies over what the cluster says, as in the server itself.
            own = environment_text(EnvironmentChange(set=dict(env[role.partition("_")[0]])))
            checked.append(replace(step, role=role, prefix=" ".join(filter(None, (step.prefix, own)))))
    return Precheck(tuple(checked), shlex.join(case.precheck.command), case.precheck.timeout_s)


def _tasks(case: Case, engine: Engine, server: ServerPlacement) -> tuple[tuple[int, ...], bool]:
    """The node of each task of a server's step, and whether each of them plays its part."""
    if engine.on_every_node(case, server.spec):
        return server.nodes, len(server.nodes) > 1
    return _task_nodes(server), False


def _task_nodes(server: ServerPlacement) -> tuple[int, ...]:
    return tuple(share.node for share in server.shares for _ in range(share.tasks))
