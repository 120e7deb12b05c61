"""Placeholders that nobody filled, where this case and its engine are about to read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_disagg.config.names import server_names
from pytest_disagg.config.placeholders import is_placeholder, unfilled
from pytest_disagg.errors import ConfigError
from pytest_disagg.topology.problems import problem

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case, ServerSpec

ENVIRONMENT = ("worker_env_var", "ctx_worker_env_var", "gen_worker_env_var", "server_env_var", "benchmark_env_var")
LOADS = "client_configs"
SIMULATED = "sim"
"""Reads a few sizes of a server's block, which are checked as they are read."""


def check_filled(case: Case) -> None:
    """Refuse what would reach a process as ``<like_this>``.

    These are values within the strings of environment variables and, where a real engine is handed them, the blocks of
    the case's servers and of the coordinator, without a server's loads. A whole string of variables, and where models
    and datasets lie, may stay open: they then mean nothing, or other options say it.

    Raises:
        ConfigError: each placeholder with its key and how it is filled.
    """
    found = [each for each in unfilled(case.document, _read(case)) if f".{LOADS}." not in each[0]]
    if found:
        raise ConfigError(
            [
                problem(
                    case,
                    key,
                    f"the unfilled placeholder <{name}>",
                    f"a value: --disagg-set {key}=..., or {name.upper()}",
                )
                for key, name in found
            ]
        )


def _read(case: Case) -> Iterator[str]:
    environment = case.document.get("environment") or {}
    yield from (f"environment.{name}" for name in ENVIRONMENT if not is_placeholder(environment.get(name)))
    if case.engine == SIMULATED:
        return
    yield from ("coordinator_config", "server_config_extra", "discovery")
    for spec in case.servers:
        yield from _blocks(case, spec)


def _blocks(case: Case, spec: ServerSpec) -> Iterator[str]:
    if case.id.mode == "ctx_only":
        yield "worker_config.ctx"
    elif spec.kind != "server":
        yield f"worker_config.{spec.kind}"
    else:
        names = server_names(case.document)
        yield from (f"server_configs.{index}" for index, name in enumerate(names) if name == spec.name)
