"""Server and client fields of a record, named and defaulted as TensorRT-LLM's perf-sanity records have them.

Defaults are part of a record there too (a server whose file says nothing has ``l_max_batch_size`` 512), so that records
of both tools can be compared field by field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case, LoadSpec, ServerSpec

_PLAIN: tuple[tuple[str, str, Any], ...] = (
    ("l_tp", "tensor_parallel_size", 1),
    ("l_ep", "moe_expert_parallel_size", 1),
    ("l_pp", "pipeline_parallel_size", 1),
    ("l_cp", "context_parallel_size", 1),
    ("l_max_num_tokens", "max_num_tokens", 2048),
    ("l_max_batch_size", "max_batch_size", 512),
    ("l_max_seq_len", "max_seq_len", 0),
    ("b_disable_overlap_scheduler", "disable_overlap_scheduler", False),
    ("l_num_postprocess_workers", "num_postprocess_workers", 0),
    ("l_stream_interval", "stream_interval", 10),
    ("s_attn_backend", "attn_backend", "TRTLLM"),
    ("b_enable_chunked_prefill", "enable_chunked_prefill", False),
    ("b_enable_attention_dp", "enable_attention_dp", False),
    ("b_trust_remote_code", "trust_remote_code", False),
    ("b_enable_lm_head_tp_in_adp", "enable_lm_head_tp_in_adp", False),
    ("s_serving_backend", "backend", "pytorch"),
    ("b_attention_dp_balance", "attention_dp_config.enable_balance", False),
    ("l_batching_wait_iters", "attention_dp_config.batching_wait_iters", 0),
    ("l_timeout_iters", "attention_dp_config.timeout_iters", 60),
    ("s_moe_backend", "moe_config.backend", ""),
    ("l_moe_max_num_tokens", "moe_config.max_num_tokens", 0),
    ("b_use_low_precision_moe_combine", "moe_config.use_low_precision_moe_combine", False),
    ("l_load_balancer_num_slots", "moe_config.load_balancer.num_slots", 0),
    ("l_load_balancer_layer_updates_per_iter", "moe_config.load_balancer.layer_updates_per_iter", 0),
    ("s_kv_cache_dtype", "kv_cache_config.dtype", "fp8"),
    ("b_enable_block_reuse", "kv_cache_config.enable_block_reuse", False),
    ("d_free_gpu_memory_fraction", "kv_cache_config.free_gpu_memory_fraction", 0.8),
    ("s_cache_transceiver_backend", "cache_transceiver_config.backend", ""),
    ("l_cache_transceiver_max_tokens_in_buffer", "cache_transceiver_config.max_tokens_in_buffer", 0),
    ("s_spec_decoding_type", "speculative_config.decoding_type", ""),
    ("s_speculative_model_dir", "speculative_config.speculative_model", ""),
    ("b_eagle3_one_model", "speculative_config.eagle3_one_model", False),
)
_ACCEPTED = "TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS"


def _at(config: Mapping[str, Any], path: str, default: Any) -> Any:
    """The value at a dotted path; ``default`` where a step is missing, null or no mapping."""
    value: Any = config
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return default if value is None else value


def server_fields(spec: ServerSpec, gpus_per_node: int) -> dict[str, Any]:
    """The fields of one server, without the infix that a disaggregated record puts in (:func:`with_infix`)."""
    config = spec.engine_config
    fields: dict[str, Any] = {
        "s_server_name": spec.name,
        "s_server_log_link": "",
        "s_model_name": spec.model.lower(),
        "l_gpus": spec.world_size,
        "l_gpus_per_node": gpus_per_node or spec.world_size,
        "s_server_env_var": spec.env_text,
    }
    fields.update({name: _at(config, path, default) for name, path, default in _PLAIN})
    graphs = config.get("cuda_graph_config")
    enabled = isinstance(graphs, Mapping)
    sizes = _at(graphs, "batch_sizes", []) if isinstance(graphs, Mapping) else []
    fields["b_enable_cuda_graph"] = enabled
    fields["b_enable_padding"] = _at(graphs, "enable_padding", True) if isinstance(graphs, Mapping) else False
    fields["l_cuda_graph_max_batch_size"] = _at(graphs, "max_batch_size", 0) if isinstance(graphs, Mapping) else 0
    fields["s_cuda_graph_batch_sizes"] = sizes
    draft = _at(config, "speculative_config.max_draft_len", None)
    draft = _at(config, "speculative_config.num_nextn_predict_layers", 0) if draft is None else draft
    fields["l_max_draft_len"] = fields["l_num_nextn_predict_layers"] = draft
    layers = _at(config, "speculative_config.eagle3_layers_to_capture", [])
    fields["s_eagle3_layers_to_capture"] = [layers] if isinstance(layers, int) else layers
    accepted = spec.env.get(_ACCEPTED, "0")
    try:
        fields["l_force_num_accepted_tokens"] = int(float(accepted))
    except ValueError:
        fields["l_force_num_accepted_tokens"] = accepted
    return fields


def with_infix(fields: Mapping[str, Any], infix: str) -> dict[str, Any]:
    """``s_model_name`` -> ``s_ctx_model_name``: the kind of server goes between prefix and name."""
    return {f"{name[:2]}{infix}_{name[2:]}": value for name, value in fields.items()}


def client_fields(load: LoadSpec, *, spec_decoding: bool) -> dict[str, Any]:
    """The fields of one load."""
    return {
        "s_client_name": load.name,
        "s_client_log_link": "",
        "l_concurrency": load.concurrency,
        "l_iterations": load.iterations,
        "l_num_prompts": load.num_prompts,
        "l_isl": load.isl,
        "l_osl": load.osl,
        "d_random_range_ratio": load.random_range_ratio,
        "d_request_rate": load.request_rate,
        "s_dataset_file": "" if load.dataset_file is None else str(load.dataset_file),
        "s_backend": load.backend,
        "b_use_chat_template": load.use_chat_template,
        "b_streaming": load.streaming,
        "b_trust_remote_code": load.trust_remote_code,
        "b_use_nv_sa_benchmark": load.use_nv_sa_benchmark,
        "b_eos": spec_decoding,
        "b_warmup": load.warmup,
        "s_client_env_vars": load.env_text,
        "s_benchmark_client": load.benchmark_client,
    }


def runtime(case: Case, spec: ServerSpec | None) -> str:
    """``s_runtime``: an aggregated server is multi-node only where its GPUs really span nodes."""
    if spec is None or spec.kind != "server":
        return "multi_node_disagg_server"
    spans = case.gpus_per_node > 0 and spec.world_size > case.gpus_per_node
    return "multi_node_aggr_server" if spans else "aggr_server"
