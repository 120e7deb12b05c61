"""How ``vllm serve`` takes its options, as of vLLM 0.33.0.

From ``vllm/engine/arg_utils.py`` and ``vllm/entrypoints/common/cli_args.py``.
"""

from __future__ import annotations

from pytest_disagg.engines.options import Style

ONE_WAY = frozenset(("aggregate_engine_logging", "disable_log_stats"))
"""Switches that have no ``--no-``: plain ``store_true``. All others of its booleans have one."""

JSON_LISTS = frozenset(("allowed_headers", "allowed_methods", "allowed_origins"))
REPEATED = frozenset(("middleware",))
SERVE = Style(negated=True, one_way=ONE_WAY, json_lists=JSON_LISTS, repeated=REPEATED)
