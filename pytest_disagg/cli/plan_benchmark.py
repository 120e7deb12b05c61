"""The commands that BENCHMARK starts: the load generator's for each load, lm_eval's for each accuracy task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_disagg.cli.plan_commands import RUN_DIR, address, coordinator_address
from pytest_disagg.clients import registry
from pytest_disagg.clients.accuracy import custom
from pytest_disagg.clients.accuracy.command import LM_EVAL
from pytest_disagg.clients.choice import client_name
from pytest_disagg.clients.tool.client import Load, ToolClient
from pytest_disagg.redact import redact, redact_env
from pytest_disagg.roles import accuracy
from pytest_disagg.roles.benchmark import ROLE
from pytest_disagg.roles.load import point_of
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.topology.deadlines import deadlines

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case, LoadSpec, ServerSpec
    from pytest_disagg.engines.protocol import Engine, Site
    from pytest_disagg.topology.placement import ServerPlacement


def benchmark_commands(
    case: Case, engine: Engine, servers: Sequence[ServerPlacement], site: Site, *, alone: bool, client: str | None
) -> list[dict[str, Any]]:
    """Stage, load or task, argv and environment of each program in the order in which they run; secrets are redacted.

    ``servers`` are those of one deployment, ``client`` is ``--disagg-client``. Probe, warm-up and the loads of
    ``native`` are sent by BENCHMARK itself: they have no command.

    Raises:
        UsageError: there is no such client, or the file wants several.
    """
    index, spec = (servers[0].index, servers[0].spec) if alone else (0, None)
    fronted = not alone or engine.fronts_aggregated(case)
    url = f"http://{coordinator_address() if fronted else address(servers[0])}"
    loads = (spec.clients if spec else ()) or case.clients
    tool = registry.get(client_name(case, client))
    measured = _measured(case, engine, tool, loads, url, site) if isinstance(tool, ToolClient) else ()
    return [*measured, *_evaluated(case, index, spec, loads, url, site)]


def _measured(
    case: Case, engine: Engine, tool: ToolClient, loads: Sequence[LoadSpec], url: str, site: Site
) -> Iterator[dict[str, Any]]:
    limits, rundir = deadlines(case), RunDir(RUN_DIR)
    for load in loads:
        if load.only_run_accuracy:
            continue
        point = point_of(case, load, 0, engine=engine, limits=limits, site=site, rundir=rundir)
        found = tool.command(Load(url, point, 0, rundir.client(load.name, 0) / tool.name))
        yield _shown("measure", load.name, (*tool.program.typed(), *found.words), {**found.env, **load.env})


def _evaluated(
    case: Case, index: int, spec: ServerSpec | None, loads: Sequence[LoadSpec], url: str, site: Site
) -> Iterator[dict[str, Any]]:
    for task, _, name in accuracy.planned(index, loads):
        argv = accuracy.command_of(
            case,
            spec,
            task,
            program=LM_EVAL.typed(),
            url=url,
            output=RUN_DIR / name,
            site=site,
            include=RUN_DIR / custom.FOLDER if custom.named(task) else None,
        )
        yield _shown(accuracy.STAGE, task.name, argv, task.env)


def _shown(stage: str, name: str, argv: Sequence[str], env: Mapping[str, str]) -> dict[str, Any]:
    return {
        "role": ROLE,
        "stage": stage,
        "name": name,
        "argv": [redact(word) for word in argv],
        "env": dict(redact_env(env)),
        "files": {},
        "ranks": 1,
        "around_pytest": [],
    }
