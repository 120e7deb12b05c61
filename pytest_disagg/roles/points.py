"""One measured load, as the stages after it need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_disagg.clients.protocol import LoadResult
from pytest_disagg.config.case import LoadSpec, ServerSpec


@dataclass(frozen=True)
class Point:
    """One measured load. ``problem`` says why its device step time is missing where the case is judged on it.

    ``device_rows`` are the usable iteration rows per GEN server, None where the case is not measured on them.
    """

    server_index: int
    load_index: int
    spec: ServerSpec | None
    load: LoadSpec
    repeat: int
    result: LoadResult
    metrics: Mapping[str, float]
    problem: str = ""
    device_rows: tuple[int, ...] | None = None

    @property
    def key(self) -> tuple[int, int]:
        """Which server of the case, which of its loads."""
        return self.server_index, self.load_index
