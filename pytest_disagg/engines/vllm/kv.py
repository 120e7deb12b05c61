"""How KV caches get from CTX to GEN: ``--kv-transfer-config`` and the variables and ports of its connector.

From the documentation and source of vLLM 0.33.0: ``docs/features/nixl_connector_usage.md``,
``vllm/config/kv_transfer.py``, ``vllm/distributed/kv_transfer/kv_connector/``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pytest_disagg.config.case import Case, ServerKind, ServerSpec
from pytest_disagg.engines.protocol import ServerRequest
from pytest_disagg.engines.vllm.nodes import DATA_PARALLEL, size_of
from pytest_disagg.errors import Problem
from pytest_disagg.topology.problems import problem

OPTION = "kv_transfer_config"
BOOTSTRAP = "bootstrap_port"
"""The fact that a server with Mooncake publishes."""

NIXL = "NixlConnector"
MOONCAKE = "MooncakeConnector"
NIXL_FAMILY = frozenset((NIXL, "NixlPullConnector", "NixlPushConnector"))
NEED_THE_COORDINATOR = frozenset(("MoRIIOConnector", "P2pNcclConnector"))
"""Their servers are told the coordinator's address; here it starts when they are healthy. 0.33.0 has only the first."""

Family = Literal["nixl", "mooncake", "other"]
ROLES: Mapping[ServerKind, tuple[str, ...]] = {
    "ctx": ("kv_producer", "kv_both"),
    "gen": ("kv_consumer", "kv_both"),
    "server": ("kv_both", "kv_producer", "kv_consumer"),
}
"""``kv_role``; the first is what a server gets where the file says nothing."""


@dataclass(frozen=True)
class Transfer:
    """``config`` is the option's content, empty where the server has none."""

    config: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)


def transfer(request: ServerRequest) -> Transfer:
    """How this server hands over or takes KV caches.

    NIXL's handshake listens on ``VLLM_NIXL_SIDE_CHANNEL_HOST``, by default localhost, and on
    ``VLLM_NIXL_SIDE_CHANNEL_PORT`` plus the data-parallel rank; Mooncake's bootstrap server on all interfaces and
    ``VLLM_MOONCAKE_BOOTSTRAP_PORT``, which all nodes of a server have to agree on.
    """
    config = config_of(request.spec)
    host = request.host
    families = {family(each) for each in _connectors(config)}
    if "nixl" in families and request.spec.kind != "server":
        port = str(request.site.port(count=size_of(request.spec, DATA_PARALLEL)))
        return Transfer(config, {"VLLM_NIXL_SIDE_CHANNEL_HOST": host, "VLLM_NIXL_SIDE_CHANNEL_PORT": port})
    if "mooncake" in families and request.spec.kind != "server":
        port = request.lead.get(BOOTSTRAP) or str(request.site.port())
        return Transfer(config, {"VLLM_HOST_IP": host, "VLLM_MOONCAKE_BOOTSTRAP_PORT": port}, {BOOTSTRAP: port})
    return Transfer(config)


def config_of(spec: ServerSpec) -> dict[str, Any]:
    """The option's content: the file's, over a connector, a role and, on a GEN server, no silent prefill."""
    block = spec.engine_config.get(OPTION)
    given = dict(block) if isinstance(block, Mapping) else {}
    if spec.kind == "server":
        return given
    return {"kv_connector": NIXL, "kv_role": ROLES[spec.kind][0], "kv_load_failure_policy": "fail", **given}


def family(connector: object) -> Family:
    """By what a coordinator and ports have to know of it."""
    return "nixl" if connector in NIXL_FAMILY else "mooncake" if connector == MOONCAKE else "other"


def family_of(case: Case, kind: ServerKind) -> Family:
    """Of a kind of server, by the outermost connector."""
    spec = case.server(kind)
    return "other" if spec is None else family(config_of(spec).get("kv_connector"))


def transfer_problems(case: Case, spec: ServerSpec, where: str) -> Iterator[Problem]:
    """What is wrong with the file's block."""
    given = spec.engine_config.get(OPTION)
    if given is None:
        return
    at = f"{where}.{OPTION}"
    if not isinstance(given, Mapping):
        yield problem(case, at, repr(given), "a mapping")
        return
    for key in ("engine_id", "kv_port"):
        if key in given:
            expected = "nothing: every server has an id and ports of its own"
            yield problem(case, f"{at}.{key}", repr(given[key]), expected)
    role = given.get("kv_role", ROLES[spec.kind][0])
    if role not in ROLES[spec.kind]:
        yield problem(case, f"{at}.kv_role", repr(role), " or ".join(ROLES[spec.kind]))
    if bad := [each for each in _connectors(given) if each in NEED_THE_COORDINATOR]:
        expected = f"a connector that needs no address of the coordinator: {NIXL}, {MOONCAKE}"
        yield problem(case, f"{at}.kv_connector", repr(bad[0]), expected)
    extra = given.get("kv_connector_extra_config")
    if isinstance(extra, Mapping) and "bootstrap_server_address" in extra:
        expected = "nothing: each CTX server starts its own"
        found = repr(extra["bootstrap_server_address"])
        yield problem(case, f"{at}.kv_connector_extra_config.bootstrap_server_address", found, expected)


def match_problems(case: Case) -> Iterator[Problem]:
    """Servers of which one kind speaks Mooncake's protocol and the other does not."""
    gen = case.server("gen")
    families = {family_of(case, "ctx"), family_of(case, "gen")}
    if gen is not None and "mooncake" in families and len(families) > 1:
        found = repr(config_of(gen).get("kv_connector"))
        at = f"worker_config.gen.{OPTION}.kv_connector"
        yield problem(case, at, found, "the connector of worker_config.ctx")


def _connectors(config: Mapping[str, Any]) -> Iterator[object]:
    """The connector, and those inside a ``MultiConnector``."""
    yield config.get("kv_connector")
    extra = config.get("kv_connector_extra_config")
    inner = extra.get("connectors") if isinstance(extra, Mapping) else None
    for each in inner if isinstance(inner, list) else ():
        if isinstance(each, Mapping):
            yield from _connectors(each)
