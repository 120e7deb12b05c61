"""The names that servers and loads have where a file gives them none, as perf-sanity's test derives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def explicit_server_names(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The names that an aggregated file gives to servers, in file order; none where its shape is wrong."""
    servers = document.get("server_configs")
    if not isinstance(servers, list):
        return ()
    return tuple(str(server["name"]) for server in servers if isinstance(server, Mapping) and server.get("name"))


def server_names(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The name of every server of an aggregated file, given or derived."""
    metadata = document.get("metadata")
    model = metadata.get("model_name", "") if isinstance(metadata, Mapping) else ""
    servers = document.get("server_configs")
    if not isinstance(servers, list):
        return ()
    return tuple(server_name(server, str(model)) for server in servers if isinstance(server, Mapping))


def server_name(server: Mapping[str, Any], model: str) -> str:
    """The given name, else ``{model}_tp{tp}_ep{ep}_pp{pp}_cp{cp}_bs{batch}_attn{attn}_moe{moe}[_spec{backend}]``."""
    if server.get("name"):
        return str(server["name"])
    sizes = "_".join(
        f"{short}{server.get(f'{long}_parallel_size') or 1}"
        for short, long in (("tp", "tensor"), ("ep", "moe_expert"), ("pp", "pipeline"), ("cp", "context"))
    )
    transceiver = _inner(server, "cache_transceiver_config")
    return (
        f"{server.get('model_name') or model}_{sizes}_bs{server.get('max_batch_size') or 512}"
        f"_attn{server.get('attn_backend') or 'TRTLLM'}_moe{_inner(server, 'moe_config')}"
        + (f"_spec{transceiver}" if transceiver else "")
    )


def load_name(concurrency: int, iterations: int, isl: int, osl: int) -> str:
    """``con{c}_iter{it}_isl{isl}_osl{osl}``."""
    return f"con{concurrency}_iter{iterations}_isl{isl}_osl{osl}"


def _inner(server: Mapping[str, Any], block: str) -> str:
    value = server.get(block)
    return str(value.get("backend") or "") if isinstance(value, Mapping) else ""
