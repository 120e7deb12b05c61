"""The pytest plugin: options now, everything else when a test asks for ``disagg_case``.

This module is imported at every pytest start that has the distribution installed, so it imports almost nothing.
"""

from __future__ import annotations

from pytest_disagg.plugin.cases import disagg_case, pytest_generate_tests
from pytest_disagg.plugin.junit import pytest_runtest_makereport
from pytest_disagg.plugin.options import pytest_addhooks, pytest_addoption, pytest_configure

__all__ = [
    "disagg_case",
    "pytest_addhooks",
    "pytest_addoption",
    "pytest_configure",
    "pytest_generate_tests",
    "pytest_runtest_makereport",
]
