"""How SGLang's server takes its options, as of 0.5.23 (``sglang/srt/server_args.py``, ``srt/arg_groups/fields/``).

The options of sglang-router 0.3.2 (``sglang_router/router_args.py``) are taken the same way.
"""

from __future__ import annotations

from pytest_disagg.engines.options import Style

JSON_LISTS = frozenset(
    (
        "decoupled_spec_connect_endpoints",
        "forward_hooks",
        "remote_instance_weight_loader_send_weights_group_ports",
        "sidecar_args",
    )
)
OPTIONS = Style(json_lists=JSON_LISTS)
