"""Stores by name, from entry-point group ``pytest_disagg.stores``; which of them this environment asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pytest_disagg.config.registry import Registry

if TYPE_CHECKING:
    from pytest_disagg.store.protocol import StoreType

BUILTIN = {
    "opensearch": "pytest_disagg.store.opensearch.store:OpenSearchType",
    "posting": "pytest_disagg.store.posting.store:PostingType",
}
VARIABLES = ("OPENSEARCH_URL", "OPEN_SEARCH_DB_BASE_URL")
"""What selects ours."""

_REGISTRY: Registry[StoreType] = Registry("pytest_disagg.stores", "store", BUILTIN)

names = _REGISTRY.names
register = _REGISTRY.register
unregister = _REGISTRY.unregister
get = _REGISTRY.get


def selected(environ: Mapping[str, str]) -> list[str]:
    """The names of the stores that this environment asks for, ours first: all are written, the first is read.

    Raises:
        UsageError: a store of another package cannot be loaded.
    """
    ours = list(BUILTIN)
    ordered = [*ours, *(name for name in names() if name not in ours)]
    return [name for name in ordered if get(name).selected(environ)]
