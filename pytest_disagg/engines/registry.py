"""Engines by name, from entry-point group ``pytest_disagg.engines`` and from hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_disagg.config.registry import Registry

if TYPE_CHECKING:
    from pytest_disagg.engines.protocol import Engine

BUILTIN = {
    "sim": "pytest_disagg.engines.sim.engine:SimEngine",
    "trtllm": "pytest_disagg.engines.trtllm.engine:TrtllmEngine",
}

_REGISTRY: Registry[Engine] = Registry("pytest_disagg.engines", "engine", BUILTIN)

names = _REGISTRY.names
register = _REGISTRY.register
unregister = _REGISTRY.unregister
get = _REGISTRY.get
