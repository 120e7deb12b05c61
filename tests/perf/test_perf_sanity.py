"""The test that users run: one case of disaggregated serving, in whatever role this process was given."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_disagg.plugin.cases import DisaggCase


def test_e2e(disagg_case: DisaggCase) -> None:
    disagg_case.run()
