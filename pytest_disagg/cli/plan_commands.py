"""The command of each role as its engine would build it, with stand-ins for what only a run knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_disagg.engines import registry
from pytest_disagg.engines.protocol import CoordinatorRequest, Launch, ServerRequest, Site
from pytest_disagg.redact import MASK, redact, redact_env
from pytest_disagg.topology.placement import COORDINATOR_NODE, Placement, ServerPlacement

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case

RUN_DIR = Path("/RUN_DIR")
"""Stands for the run directory. Node ``i`` of the placement is called ``node<i>``; ports show as 0."""


def commands(case: Case, placement: Placement, servers: Sequence[ServerPlacement], site: Site) -> list[dict[str, Any]]:
    """Role, argv, environment and files of each server and of the coordinator; secrets are redacted.

    ``ranks`` is how many tasks the role's Slurm step has, ``around_pytest`` the launcher that each of them runs pytest
    under; where it is empty rank 0 alone plays the role.

    Raises:
        UsageError: the case's engine is not installed.
        ConfigError: the engine cannot use the case.
    """
    engine = registry.get(case.engine)
    site = replace(site, secrets=dict.fromkeys(engine.secrets(case), MASK))
    shown = []
    for server in servers:
        around = list(engine.around_pytest(case, server.spec))
        env = {**(engine.environment(case, server.spec) if around else {}), **server.spec.env}
        entry = _shown(server.role, engine.server(_request(case, server, site)), env)
        shown.append({**entry, "ranks": server.world_size, "around_pytest": around})
    if not placement.alone:
        request = CoordinatorRequest(
            case=case,
            role="DISAGG_SERVER",
            host=_host(COORDINATOR_NODE),
            ctx=[_address(server) for server in placement.of_kind("ctx")],
            gen=[_address(server) for server in placement.of_kind("gen")],
            config_dir=RUN_DIR / "config" / "DISAGG_SERVER",
            log_dir=RUN_DIR / "logs",
            secrets_dir=RUN_DIR / "secrets" / "DISAGG_SERVER",
            address_file=RUN_DIR / "config" / "DISAGG_SERVER" / "address",
            site=site,
        )
        entry = _shown("DISAGG_SERVER", engine.coordinator(request), case.coordinator_env)
        shown.append({**entry, "ranks": 1, "around_pytest": []})
    return shown


def _request(case: Case, server: ServerPlacement, site: Site) -> ServerRequest:
    return ServerRequest(
        case=case,
        spec=server.spec,
        role=server.role,
        index=server.index,
        host=_host(server.nodes[0]),
        config_dir=RUN_DIR / "config" / server.role,
        log_dir=RUN_DIR / "logs",
        secrets_dir=RUN_DIR / "secrets" / server.role,
        address_file=RUN_DIR / "config" / server.role / "address",
        site=site,
    )


def _host(node: int) -> str:
    return f"node{node}"


def _address(server: ServerPlacement) -> str:
    return f"{_host(server.nodes[0])}:0"


def _shown(role: str, launch: Launch, env: Mapping[str, str]) -> dict[str, Any]:
    return {
        "role": role,
        "argv": [redact(word) for word in launch.argv],
        "env": dict(redact_env({**env, **launch.env})),
        "files": {str(path): redact(text) for path, text in launch.files.items()},
    }
