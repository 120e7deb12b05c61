"""The launch script: script prefix, exports, ``srunArgs``, draft. A pure function of texts and the case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources

from pytest_disagg.config.case import Case
from pytest_disagg.config.cluster import Cluster
from pytest_disagg.config.cluster_env import Rules, environment_of
from pytest_disagg.errors import UsageError
from pytest_disagg.launch import nsys
from pytest_disagg.launch.compat import commandline, sizes, srunargs
from pytest_disagg.launch.compat.commandline import PytestCommandText
from pytest_disagg.launch.compat.environments import (
    WORKER_BASE,
    change_text,
    environments,
    text_of,
)
from pytest_disagg.launch.compat.shelltext import Atom, Word, in_double_quotes, literal
from pytest_disagg.launch.compat.textfile import TextFile
from pytest_disagg.topology.placement import Placement, place


@dataclass(frozen=True)
class Profiling:
    """nsys around every server. Ranges are values of TLLM_PROFILE_START_STOP; ``folder`` is where reports go."""

    folder: str
    ctx: str = nsys.DEFAULT_RANGE
    gen: str = nsys.DEFAULT_RANGE
    alone: str = nsys.DEFAULT_RANGE


@dataclass(frozen=True)
class Inputs:
    """What a launch script is made of. ``run_sh`` and ``install_sh`` are paths as the nodes see them.

    ``prefix``, ``gate`` (functions that a draft calls) and ``draft`` are trusted and carried as they are; without a
    draft our own is taken. ``common`` goes before every role's command. ``rules`` are variables by the name of
    ``cluster``, whose own lie over them.
    """

    case: Case
    run_sh: str
    install_sh: str
    prefix: TextFile
    srun_args: TextFile
    draft: TextFile | None = None
    gate: TextFile | None = None
    cluster: Cluster = field(default_factory=Cluster)
    rules: Rules | None = None
    common: Mapping[str, str] = field(default_factory=dict)
    profiling: Profiling | None = None


@dataclass(frozen=True)
class Launch:
    """``text`` is the script; ``notes`` is what whoever submits it should know."""

    text: str
    notes: tuple[str, ...] = ()


def launch_script(given: Inputs) -> Launch:
    """The whole script.

    Raises:
        ConfigError: the prefix or the srun arguments cannot be used.
        UsageError: a case that this form cannot express, or that the draft would start wrongly.
    """
    placement = place(given.case)
    command = commandline.find(given.prefix.text, given.prefix.path)
    if placement.alone:
        exports, crossing, notes = _aggregated(given, placement, command)
    else:
        exports, crossing, notes = _disaggregated(given, placement, command)
    arguments = srunargs.with_container_variables(srunargs.parse(given.srun_args.text, given.srun_args.path), crossing)
    _check_draft(given.draft, placement, exports)
    parts = [
        given.prefix.text,
        "\n".join(f"export {name}={in_double_quotes(value)}" for name, value in exports.items()) + "\n",
        srunargs.array(arguments),
        *([given.gate.text] if given.gate else []),
        given.draft.text if given.draft else own_draft(alone=placement.alone),
    ]
    return Launch("".join(part if part.endswith("\n") else f"{part}\n" for part in parts), tuple(notes))


def own_draft(*, alone: bool) -> str:
    """The draft that is shipped: for a case that one process plays, or for one with roles."""
    folder = resources.files("pytest_disagg.launch.compat") / "drafts"
    names = ("common.sh", "aggregated.sh" if alone else "disaggregated.sh")
    return "".join((folder / name).read_text(encoding="utf-8") for name in names)


_Made = tuple[dict[str, Word], Sequence[str], Sequence[str]]
"""Exports, names of variables that cross into a container, notes."""


def _disaggregated(given: Inputs, placement: Placement, command: PytestCommandText) -> _Made:
    case, profiling = given.case, given.profiling
    ranges = {"ctx": profiling.ctx, "gen": profiling.gen} if profiling else None
    env = environments(case, ranges)
    owned = command.has_declarations
    worker = command.without_results()
    if profiling:
        worker = worker.below(nsys.nsys_prefix(f"{profiling.folder}/{nsys.OUTPUT_OF_ROLE}"))
    partial = {
        "partialPytestCommandWorker": worker.joined(),
        "partialPytestCommandDisaggServer": command.without_results().without_launcher().joined(),
        "partialPytestCommandBenchmark": command.without_launcher().joined(),
    }
    variables = {
        "PYTEST_COMMON_VARS": text_of(given.common, exported=owned),
        "CTX_WORKER_ENV_VARS": text_of(env.ctx, before=WORKER_BASE, exported=owned),
        "GEN_WORKER_ENV_VARS": text_of(env.gen, before=WORKER_BASE, exported=owned),
        "SERVER_ENV_VARS": text_of(env.server, exported=owned),
        "BENCHMARK_ENV_VARS": text_of(env.benchmark, exported=owned),
    }
    ucx = {role: _ucx(given, role, exported=owned) for role in ("CTX", "GEN", "DISAGG_SERVER", "BENCHMARK")}
    common = "PYTEST_COMMON_VARS"
    commands = {
        "pytestCommandCTXWorker": _joined(ucx["CTX"], "CTX_WORKER_ENV_VARS", common, "partialPytestCommandWorker"),
        "pytestCommandGENWorker": _joined(ucx["GEN"], "GEN_WORKER_ENV_VARS", common, "partialPytestCommandWorker"),
        "pytestCommandDisaggServer": _joined(
            ucx["DISAGG_SERVER"], "SERVER_ENV_VARS", common, "partialPytestCommandDisaggServer"
        ),
        "pytestCommandBenchmark": _joined(
            ucx["BENCHMARK"], "BENCHMARK_ENV_VARS", common, "partialPytestCommandBenchmark"
        ),
    }
    older = {"pytestCommandNoLLMAPILaunch": command.without_launcher().joined()}
    # Older drafts start both kinds of worker by one command. Where those differ there is none; such a draft is refused.
    if case.num_ctx == 0 or env.ctx == env.gen:
        older["pytestCommandWorker"] = _joined("", "pytestCommandGENWorker")
    exports: dict[str, Word] = {name: literal(value) for name, value in env.job.items()}
    exports |= {**{name: literal(text) for name, text in variables.items()}, **partial, **commands, **older}
    exports |= _paths(given) | _numbers(sizes.disaggregated(case, placement)) | _output(given, command)
    # Named by TensorRT-LLM's newest draft. What it would check is the cache transceiver, with scripts of theirs.
    exports["ctPrecheckEnabled"] = literal("false")
    crossing = ["DISAGG_SERVING_TYPE", "pytestCommand", *env.job]
    return exports, crossing, env.notes


def _aggregated(given: Inputs, placement: Placement, command: PytestCommandText) -> _Made:
    numbers = sizes.aggregated(given.case, placement)
    (server,) = given.case.servers
    owned = command.has_declarations
    run = command
    profile: dict[str, str] = {}
    if given.profiling:
        run = run.below(nsys.nsys_prefix(f"{given.profiling.folder}/{nsys.OUTPUT_ALONE}"))
        profile = {nsys.RANGE_VARIABLE: given.profiling.alone}
    env = text_of({**profile, **given.common, **server.env}, exported=owned)
    # With one GPU nothing is sent between processes, and UCX is left as it is.
    ucx = _ucx(given, "SERVER_0", exported=owned) if server.world_size > 1 else ""
    exports: dict[str, Word] = {
        "partialPytestCommand": run.joined(),
        "pytestCommand": _joined(" ".join(filter(None, (ucx, env))), "partialPytestCommand"),
    }
    exports |= _paths(given) | _numbers(numbers) | _output(given, command)
    return exports, ["pytestCommand"], ()


def _joined(text: str, *variables: str) -> Word:
    """``text``, then references to ``variables``, filled in where the script exports the result."""
    words = [literal(text)] if text else []
    return commandline.joined([*words, *((Atom(f"${name}", expansion=True),) for name in variables)])


def _ucx(given: Inputs, role: str, *, exported: bool) -> str:
    return change_text(environment_of(given.cluster, role, given.rules), exported=exported)


def _paths(given: Inputs) -> dict[str, Word]:
    return {
        "runScript": literal(given.run_sh),
        "installScript": literal(given.install_sh),
        "configYamlPath": literal(str(given.case.path.absolute())),
    }


def _numbers(values: Mapping[str, int]) -> dict[str, Word]:
    return {name: literal(str(value)) for name, value in values.items()}


def _output(given: Inputs, command: PytestCommandText) -> dict[str, Word]:
    """``testOutputDir``: the case's folder below ``--output-dir``, else below the job's workspace."""
    folder = list(command.option("--output-dir") or (Atom("$jobWorkspace", expansion=True),))
    while len(folder) > 1 and folder[-1] == Atom("/"):
        folder.pop()
    return {"testOutputDir": (*folder, *literal(f"/{given.case.id.text}"))}


def _check_draft(draft: TextFile | None, placement: Placement, exports: Iterable[str]) -> None:
    """What a draft that is not ours would do wrong with this case is found before anything is written.

    Raises:
        UsageError: more tasks than ranks, or one environment for workers that need two.
    """
    if draft is None:
        return
    if (wrong := sizes.uneven(placement)) and "arbitrary" not in draft.text:
        server = wrong[0]
        tasks = len(server.nodes) * server.tasks_per_node[0]
        raise UsageError(
            f"{draft.path}: starts {tasks} tasks for {server.role}, which has {server.world_size} ranks "
            f"({'+'.join(map(str, server.tasks_per_node))}), expected a draft with --distribution=arbitrary; without "
            "--draft-launch-sh the shipped one is used"
        )
    if "pytestCommandWorker" in draft.text and "pytestCommandWorker" not in exports:
        raise UsageError(
            f"{draft.path}: starts CTX and GEN servers by one command, $pytestCommandWorker, but this case gives them "
            "different environments, expected $pytestCommandCTXWorker and $pytestCommandGENWorker; without "
            "--draft-launch-sh the shipped one is used"
        )
