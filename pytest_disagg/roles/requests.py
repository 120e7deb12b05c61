"""What an engine is asked for by a role: the requests of :mod:`pytest_disagg.engines.protocol`, filled in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_disagg.config.case import ServerSpec
from pytest_disagg.engines.protocol import CoordinatorRequest, ServerRequest, Site
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.rundir.secret import shared_secret


def server_request(session: RoleSession, spec: ServerSpec, role: str, index: int) -> ServerRequest:
    """The request for server ``index`` of ``spec``, which this session starts."""
    rundir = session.rundir
    return ServerRequest(
        case=session.case,
        spec=spec,
        role=role,
        index=index,
        host=session.options.host,
        config_dir=rundir.config(role),
        log_dir=rundir.logs,
        secrets_dir=_private(rundir.secrets / role),
        address_file=rundir.address(role),
        site=site_of(session),
    )


def coordinator_request(
    session: RoleSession, role: str, *, ctx: Sequence[str], gen: Sequence[str]
) -> CoordinatorRequest:
    """The request for the coordinator in front of ``ctx`` and ``gen`` (``host:port`` in index order)."""
    rundir = session.rundir
    return CoordinatorRequest(
        case=session.case,
        role=role,
        host=session.options.host,
        ctx=ctx,
        gen=gen,
        config_dir=rundir.config(role),
        log_dir=rundir.logs,
        secrets_dir=_private(rundir.secrets / role),
        address_file=rundir.address(role),
        site=site_of(session),
    )


def _private(folder: Path) -> Path:
    """``folder``, made for its owner alone. Not its parents: where they are gone the run is over."""
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def site_of(session: RoleSession) -> Site:
    """What the case does not say: folders of this site, the run's secrets, free ports of this host."""
    options = session.options
    return Site(
        models_root=options.models_root,
        llm_src=options.llm_src,
        secrets={name: shared_secret(session.rundir, name) for name in options.engine.secrets(session.case)},
        port=session.ports,
    )
