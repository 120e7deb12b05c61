"""The two kinds of files that ``trtllm-serve`` is given: the engine's options, and the coordinator's list of servers.

Both are the case file's blocks, verbatim, except for what belongs to the harness. Rules and names are those of
TensorRT-LLM's ``tests/integration/defs/perf/test_perf_sanity.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml as pyyaml

from pytest_disagg.config import yaml
from pytest_disagg.config.case import Case, ServerSpec
from pytest_disagg.config.overrides import unshared
from pytest_disagg.engines.options import block_of
from pytest_disagg.engines.protocol import CoordinatorRequest, Site
from pytest_disagg.errors import ConfigError
from pytest_disagg.redact import register
from pytest_disagg.topology.problems import problem

AUTH_KEY = "internal_request_auth_key"
EXTRA_CONFIG = "extra_llm_api_config_path"
OF_THE_HARNESS = frozenset(
    "mode concurrency name model_name disagg_run_type gpus gpus_per_node match_mode client_configs backend "
    f"{EXTRA_CONFIG} server_env_var".split()
)
"""Keys of a server's block that are not the engine's."""


def auth_key(case: Case, site: Site) -> str:
    """The key that servers and coordinator know each other by: the file's own, else the run's secret."""
    key = str(case.document.get(AUTH_KEY) or site.secrets.get(AUTH_KEY, ""))
    register(key)
    return key


def check_case(case: Case) -> None:
    """What would otherwise be found once the servers are up. An aggregated server has neither key nor coordinator.

    Raises:
        ConfigError: a block with an auth key of its own, or ``server_config_extra`` with what the run cannot give.
    """
    if case.id.runtime == "alone":
        return
    for spec in case.servers:
        if AUTH_KEY in spec.engine_config:
            expected = f"{AUTH_KEY} at the top level of the file: servers and coordinator share one"
            raise ConfigError([problem(case, f"{block_of(case, spec)}.{AUTH_KEY}", "a key", expected)])
    _check_extra(case, case.document.get("server_config_extra") or {})


def engine_options(case: Case, spec: ServerSpec, site: Site) -> str:
    """The text of a server's ``--config`` file.

    Raises:
        ConfigError: the file that ``extra_llm_api_config_path`` names cannot be read.
    """
    shared = {} if spec.kind == "server" else {AUTH_KEY: auth_key(case, site)}
    options = {**_extra(case, spec, site), **shared, **unshared(spec.engine_config)}
    options = {name: value for name, value in options.items() if name not in OF_THE_HARNESS}
    speculative = options.get("speculative_config")
    if isinstance(speculative, dict) and site.models_root and speculative.get("speculative_model"):
        speculative["speculative_model"] = str(site.models_root / str(speculative["speculative_model"]))
    moe = options.get("moe_config")
    if isinstance(moe, dict) and site.llm_src and isinstance(moe.get("load_balancer"), str):
        moe["load_balancer"] = str(site.llm_src / moe["load_balancer"])
    return dump(options)


def server_list(request: CoordinatorRequest) -> str:
    """The text of the coordinator's ``-c`` file: where it listens, and every server.

    Raises:
        ConfigError: ``server_config_extra`` asks for what this run cannot give it.
    """
    case, document = request.case, request.case.document
    extra = document.get("server_config_extra") or {}
    check_case(case)
    listed: dict[str, Any] = {
        "hostname": request.host,
        "port": 0,
        "backend": "pytorch",
        AUTH_KEY: auth_key(case, request.site),
    }
    for key, kind, urls in (("context_servers", "ctx", request.ctx), ("generation_servers", "gen", request.gen)):
        servers: dict[str, Any] = {"num_instances": len(urls), "urls": list(urls)}
        router = document.get(f"{kind}_router_config") or document.get("router_config")
        listed[key] = {**servers, "router": router} if router else servers
    return dump({**listed, **extra})


def dump(document: Mapping[str, Any]) -> str:
    """Block style, keys in the file's order."""
    text: str = pyyaml.safe_dump(unshared(dict(document)), sort_keys=False, default_flow_style=False)
    return text


def _extra(case: Case, spec: ServerSpec, site: Site) -> Mapping[str, Any]:
    """What lies below the block, key by key; a path is relative to the TensorRT-LLM checkout."""
    named = spec.engine_config.get(EXTRA_CONFIG)
    if not named:
        return {}
    path = Path(str(named)) if site.llm_src is None else site.llm_src / str(named)
    try:
        return yaml.load(path).data
    except ConfigError as error:
        expected = "a readable file; a relative path is looked up below --disagg-llm-src"
        raise ConfigError([problem(case, f"{block_of(case, spec)}.{EXTRA_CONFIG}", str(error), expected)]) from error


def _check_extra(case: Case, extra: Mapping[str, Any]) -> None:
    def wrong(key: str, found: str, expected: str) -> ConfigError:
        return ConfigError([problem(case, f"server_config_extra{key}", found, expected)])

    if extra.get("num_workers") not in (None, 0, 1):
        raise wrong(".num_workers", repr(extra["num_workers"]), "1: several workers do not share one address")
    if extra.get("disagg_coordinator_url"):
        raise wrong(".disagg_coordinator_url", "a URL", "nothing: the coordinator is started by the run")
