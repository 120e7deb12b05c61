"""What the parts of stage ``prepare`` share: what machines are held against, and the error of one that is not fit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_disagg.errors import RunError
from pytest_disagg.roles.session import RoleSession

if TYPE_CHECKING:
    from pytest_disagg.config.blocks import MachineRules

STAGE = "prepare"


def rules_of(session: RoleSession) -> MachineRules | None:
    """Those of the case, see :meth:`Case.machine_rules`."""
    return session.case.machine_rules(simulated=session.options.engine.simulated(session.case))


def unfit(message: str, evidence: Iterable[str] = (), stage: str = STAGE) -> RunError:
    """The error of a machine on which the run cannot go on."""
    return RunError(message, kind="infrastructure", stage=stage, evidence=tuple(evidence))
