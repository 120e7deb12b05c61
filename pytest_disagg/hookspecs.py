"""Hooks that a conftest or another plugin implements. Each example below is run by a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_disagg.clients.protocol import LoadClient
    from pytest_disagg.config.case import Case
    from pytest_disagg.engines.protocol import Engine


@pytest.hookspec
def pytest_disagg_engines() -> Mapping[str, Callable[[], Engine]]:
    """Engines by name, beside those of entry-point group ``pytest_disagg.engines``.

    Example::

        from pytest_disagg.engines.sim.engine import SimEngine

        class OtherEngine(SimEngine):
            name = "other"

        def pytest_disagg_engines():
            return {"other": OtherEngine}
    """
    return {}


@pytest.hookspec
def pytest_disagg_clients() -> Mapping[str, Callable[[], LoadClient]]:
    """Load generators by name, beside those of entry-point group ``pytest_disagg.clients``.

    Example::

        from pytest_disagg.clients.native.client import NativeClient

        class OtherClient(NativeClient):
            name = "other"

        def pytest_disagg_clients():
            return {"other": OtherClient}
    """
    return {}


@pytest.hookspec(firstresult=True)
def pytest_disagg_skip(case: Case) -> str | None:
    """Why ``case`` cannot run here, None when it can. Asked before anything starts; a role fails where others skip.

    Example::

        def pytest_disagg_skip(case):
            if case.model == "sim-model":
                return "no licence for sim-model on this machine"
    """


@pytest.hookspec
def pytest_disagg_stage(case: Case, role: str, stage: str, event: str) -> None:
    """A stage of a run began (``event == "start"``) or ended (``"end"``); called in the role's own process.

    Example::

        def pytest_disagg_stage(case, role, stage, event):
            print(f"STAGE {role} {stage} {event}")
    """


@pytest.hookspec
def pytest_disagg_record(case: Case, record: dict[str, Any]) -> None:
    """A record is about to be written; change it in place. Keys carry their type (``s_ l_ d_ b_ ts_``).

    Example::

        def pytest_disagg_record(case, record):
            record["s_rack"] = "r7"
    """


@pytest.hookspec
def pytest_disagg_outcome(case_id: str, outcome: Mapping[str, Any]) -> None:
    """A run is over; ``outcome`` is what ``outcome.json`` says. Called where the result is reported.

    Example::

        def pytest_disagg_outcome(case_id, outcome):
            print(f"OUTCOME {case_id} {outcome['verdict']}")
    """
