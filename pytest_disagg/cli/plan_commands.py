"""The command of each role as its engine would build it, with stand-ins for what only a run knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_disagg.engines import registry
from pytest_disagg.engines.protocol import CoordinatorRequest, Engine, Launch, ServerRequest, ServiceRequest, Site
from pytest_disagg.redact import MASK, redact, redact_env
from pytest_disagg.topology.placement import COORDINATOR_NODE, Placement, ServerPlacement

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case

RUN_DIR = Path("/RUN_DIR")
"""Stands for the run directory. Node ``i`` of the placement is called ``node<i>``; ports show as 0."""

SCRATCH = Path("/SCRATCH")
"""Stands for a folder of the coordinator's node that a run makes and removes."""


def commands(case: Case, placement: Placement, servers: Sequence[ServerPlacement], site: Site) -> list[dict[str, Any]]:
    """Role, argv, environment and files of each server and of the coordinator; secrets are redacted.

    ``ranks`` is how many tasks the role's Slurm step has, ``around_pytest`` the launcher that each of them runs pytest
    under; where it is empty rank 0 alone plays the role. A server whose engine starts a process on each of its nodes
    has an entry for each, with ``node_rank``. Services come first.

    Raises:
        UsageError: the case's engine is not installed.
        ConfigError: the engine cannot use the case.
    """
    engine = registry.get(case.engine)
    site = replace(site, secrets=dict.fromkeys(engine.secrets(case), MASK))
    shown = [{**entry, "ranks": 1, "around_pytest": []} for entry in _services(case, engine, site)]
    services = dict.fromkeys(engine.services(case), coordinator_address())
    site = replace(site, services=services, shared_dir=RUN_DIR / "shared")
    facts: dict[str, Mapping[str, str]] = {}
    for server in servers:
        around = list(engine.around_pytest(case, server.spec))
        env = {**(engine.environment(case, server.spec) if around else {}), **server.spec.env}
        every = engine.on_every_node(case, server.spec)
        for rank in range(len(server.nodes) if every else 1):
            asked = replace(_request(case, server, site, rank, every=every), lead=facts.get(server.role, {}))
            launch = engine.server(asked)
            entry = _shown(server.role, launch, env)
            shown.append({**entry, "ranks": len(server.nodes) if every else server.world_size, "around_pytest": around})
            if every:
                shown[-1]["node_rank"] = rank
            facts.setdefault(server.role, launch.facts)
    if not placement.alone or engine.fronts_aggregated(case):
        request = CoordinatorRequest(
            case=case,
            role="DISAGG_SERVER",
            host=_host(COORDINATOR_NODE),
            ctx=[address(server) for server in placement.of_kind("ctx")],
            gen=[address(server) for server in servers if server.kind != "ctx"],
            ctx_facts=[facts.get(server.role, {}) for server in placement.of_kind("ctx")],
            gen_facts=[facts.get(server.role, {}) for server in servers if server.kind != "ctx"],
            config_dir=RUN_DIR / "config" / "DISAGG_SERVER",
            log_dir=RUN_DIR / "logs",
            secrets_dir=RUN_DIR / "secrets" / "DISAGG_SERVER",
            address_file=RUN_DIR / "config" / "DISAGG_SERVER" / "address",
            site=site,
        )
        entry = _shown("DISAGG_SERVER", engine.coordinator(request), case.coordinator_env)
        shown.append({**entry, "ranks": 1, "around_pytest": []})
    return shown


def _services(case: Case, engine: Engine, site: Site) -> Iterator[dict[str, Any]]:
    for name in engine.services(case):
        request = ServiceRequest(
            case=case,
            name=name,
            host=_host(COORDINATOR_NODE),
            data_dir=SCRATCH / name,
            config_dir=RUN_DIR / "config" / name,
            address_file=RUN_DIR / "config" / name / "address",
            site=site,
        )
        yield _shown(name, engine.service(request), {})


def _request(case: Case, server: ServerPlacement, site: Site, rank: int, *, every: bool) -> ServerRequest:
    return ServerRequest(
        case=case,
        spec=server.spec,
        role=server.role,
        index=server.index,
        host=_host(server.nodes[rank]),
        config_dir=RUN_DIR / "config" / server.role,
        log_dir=RUN_DIR / "logs",
        secrets_dir=RUN_DIR / "secrets" / server.role,
        address_file=RUN_DIR / "config" / server.role / "address",
        site=site,
        node_rank=rank,
        nodes=len(server.nodes) if every else 1,
        rendezvous=address(server) if every and len(server.nodes) > 1 else "",
    )


def _host(node: int) -> str:
    return f"node{node}"


def address(server: ServerPlacement) -> str:
    """Stands for where a server listens."""
    return f"{_host(server.nodes[0])}:0"


def coordinator_address() -> str:
    """Stands for where the coordinator listens, and the services beside it."""
    return f"{_host(COORDINATOR_NODE)}:0"


def _shown(role: str, launch: Launch, env: Mapping[str, str]) -> dict[str, Any]:
    return {
        "role": role,
        "argv": [redact(word) for word in launch.argv],
        "env": dict(redact_env({**env, **launch.env})),
        "files": {str(path): redact(text) for path, text in launch.files.items()},
    }
