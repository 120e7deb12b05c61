"""What an engine is asked for by a role: the requests of :mod:`pytest_disagg.engines.protocol`, filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_disagg.config.case import ServerSpec
from pytest_disagg.engines.protocol import CoordinatorRequest, ServerRequest, ServiceRequest, Site
from pytest_disagg.roles.session import RoleSession
from pytest_disagg.rundir.secret import shared_secret


@dataclass(frozen=True)
class Published:
    """What a server published: ``host:port``, and what its engine has to say of it."""

    address: str
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a server starts: behind which services (name -> ``host:port``), on which node of how many.

    ``rendezvous`` is the ``host:port`` where its nodes meet, empty where it has one node; ``lead`` is what the launch
    of the first node has to say, for the others.
    """

    services: Mapping[str, str] = field(default_factory=dict)
    node_rank: int = 0
    nodes: int = 1
    rendezvous: str = ""
    lead: Mapping[str, str] = field(default_factory=dict)


def server_request(session: RoleSession, spec: ServerSpec, role: str, index: int, at: Place) -> ServerRequest:
    """The request for server ``index`` of ``spec``, or for the node of it that this session starts."""
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
        site=site_of(session, at.services),
        node_rank=at.node_rank,
        nodes=at.nodes,
        rendezvous=at.rendezvous,
        lead=at.lead,
    )


def service_request(session: RoleSession, name: str, data_dir: Path) -> ServiceRequest:
    """The request for the service ``name``, which keeps its state in ``data_dir``."""
    rundir = session.rundir
    return ServiceRequest(
        case=session.case,
        name=name,
        host=session.options.host,
        data_dir=data_dir,
        config_dir=rundir.config(name),
        address_file=rundir.address(name),
        site=site_of(session),
    )


def coordinator_request(
    session: RoleSession, role: str, *, ctx: Sequence[Published], gen: Sequence[Published], services: Mapping[str, str]
) -> CoordinatorRequest:
    """The request for the coordinator in front of ``ctx`` and ``gen``, in index order."""
    rundir = session.rundir
    return CoordinatorRequest(
        case=session.case,
        role=role,
        host=session.options.host,
        ctx=[server.address for server in ctx],
        gen=[server.address for server in gen],
        config_dir=rundir.config(role),
        log_dir=rundir.logs,
        secrets_dir=_private(rundir.secrets / role),
        address_file=rundir.address(role),
        site=site_of(session, services),
        ctx_facts=[server.facts for server in ctx],
        gen_facts=[server.facts for server in gen],
    )


def _private(folder: Path) -> Path:
    """``folder``, made for its owner alone. Not its parents: where they are gone the run is over."""
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def site_of(session: RoleSession, services: Mapping[str, str] | None = None) -> Site:
    """What the case does not say: folders of this site, the run's secrets, free ports of this host, its services."""
    options = session.options
    session.rundir.shared.mkdir(exist_ok=True)
    return Site(
        models_root=options.models_root,
        llm_src=options.llm_src,
        secrets={name: shared_secret(session.rundir, name) for name in options.engine.secrets(session.case)},
        port=session.ports,
        services=services or {},
        shared_dir=session.rundir.shared,
    )
