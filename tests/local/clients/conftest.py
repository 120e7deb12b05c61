"""The simulated servers that load generators are pointed at."""

from __future__ import annotations

from tests.local.sim.conftest import cluster as cluster
from tests.local.sim.conftest import pool as pool
