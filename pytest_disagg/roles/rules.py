"""What the machines of a run are held against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_disagg.roles.session import RoleSession

if TYPE_CHECKING:
    from pytest_disagg.config.blocks import MachineRules


def rules_of(session: RoleSession) -> MachineRules | None:
    """The case's rules; None for simulated servers, which need no machine of any kind, unless the file says so."""
    case = session.case
    if session.options.engine.simulated(case) and "machine" not in case.document:
        return None
    return case.machine
