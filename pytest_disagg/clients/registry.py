"""Clients by name, from entry-point group ``pytest_disagg.clients`` and from hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_disagg.config.registry import Registry

if TYPE_CHECKING:
    from pytest_disagg.clients.protocol import LoadClient

BUILTIN = {
    "native": "pytest_disagg.clients.native.client:NativeClient",
    "benchmark_serving": "pytest_disagg.clients.benchmark_serving:BenchmarkServing",
    "vllm_bench": "pytest_disagg.clients.vllm_bench:VllmBench",
    "sglang_bench": "pytest_disagg.clients.sglang_bench:SglangBench",
    "aiperf": "pytest_disagg.clients.aiperf:Aiperf",
}

_REGISTRY: Registry[LoadClient] = Registry("pytest_disagg.clients", "client", BUILTIN)

names = _REGISTRY.names
register = _REGISTRY.register
unregister = _REGISTRY.unregister
get = _REGISTRY.get
missing = _REGISTRY.missing
