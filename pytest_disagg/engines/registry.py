"""Engines by name, from entry-point group ``pytest_disagg.engines`` and from hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_disagg.config.registry import Registry

if TYPE_CHECKING:
    from pytest_disagg.engines.protocol import Engine

BUILTIN = {
    "dynamo": "pytest_disagg.engines.dynamo.engine:DynamoEngine",
    "sglang": "pytest_disagg.engines.sglang.engine:SglangEngine",
    "sim": "pytest_disagg.engines.sim.engine:SimEngine",
    "trtllm": "pytest_disagg.engines.trtllm.engine:TrtllmEngine",
    "vllm": "pytest_disagg.engines.vllm.engine:VllmEngine",
}

_REGISTRY: Registry[Engine] = Registry("pytest_disagg.engines", "engine", BUILTIN)

names = _REGISTRY.names
register = _REGISTRY.register
unregister = _REGISTRY.unregister
get = _REGISTRY.get
missing = _REGISTRY.missing
