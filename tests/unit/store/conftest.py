"""Records for tests of the stores."""

from __future__ import annotations

from typing import Any

from pytest_disagg.records.record import Record

CREATED_MS = 1_795_000_000_000


def record(number: int = 0, **fields: Any) -> Record:
    """A valid record; ``number`` makes it another one."""
    return {
        "l_schema_version": 1,
        "s_run_id": f"run-{number}",
        "s_case_id": "aggr-x",
        "s_test_list": "aggr-x",
        "s_client_name": "con8",
        "s_engine": "sim",
        "s_gpu_type": "none",
        "l_concurrency": 8,
        "l_repeat": 0,
        "ts_created": CREATED_MS + number,
        "b_is_valid": True,
        "d_token_throughput": 100.0 + number,
        **fields,
    }
