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
TWO_WAY = frozenset(
    (
        "dcp_replicate_q_proj",
        "dllm_fdfo",
        "enable_decoder_swa_bounded_replay",
        "enable_dsa_fused_indexer",
        "enable_fused_qk_norm_rope",
        "enable_tf32_matmul",
        "enable_tp_lm_head_all_to_all",
        "experts_shared_outer_loras",
        "lora_strict_loading",
        "mm_enable_dp_encoder",
        "ple_offload_embedding",
        "speculative_enable_w4a4_mxfp4_megamoe",
    )
)
"""Switches with a ``--no-``: SGLang may turn them on by itself. All others are off unless they are given."""

OPTIONS = Style(json_lists=JSON_LISTS, two_way=TWO_WAY)
