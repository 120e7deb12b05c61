"""What a case file's blocks say to SGLang's servers and to its router, and what they cannot say."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_disagg.engines.options import NO_SECRET, block_of, coordinator_block, key_problems, keys, refuse, without
from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.topology.problems import problem

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case, ServerSpec

BACKEND = "backend"
SGLANG, SIM = "sglang", "sim"
BACKENDS = (SGLANG, SIM)
"""What a worker block's ``backend`` may be: the engine, or simulated servers that speak with the real router."""

COORDINATOR = "coordinator_config"

_OURS = "nothing: the run gives it"
REFUSED: Mapping[str, str] = refuse(
    (_OURS, "model model_path served_model_name host port nnodes node_rank dist_init_addr nccl_init_addr"),
    ("nothing: it follows from whose block this is", "disaggregation_mode"),
    ("nothing: the run chooses it for each CTX server", "disaggregation_bootstrap_port"),
    (NO_SECRET, "api_key admin_api_key ssl_keyfile_password"),
    ("nothing: the run speaks plain HTTP", "ssl_keyfile ssl_certfile ssl_ca_certs grpc_mode smg_grpc_mode"),
    ("tensor_parallel_size: the harness places servers by it", "tp tp_size"),
    ("pipeline_parallel_size: the harness places servers by it", "pp pp_size"),
    ("dp_size", "data_parallel_size"),
    ("attn_dp_size", "attention_data_parallel_size"),
    ("attn_cp_size: in SGLang it lies within the tensor-parallel size", "context_parallel_size"),
    ("chunked_prefill_size, or max_prefill_tokens", "max_num_tokens"),
    ("decode_log_interval", "print_iter_log"),
    ("tokenizer_worker_num", "num_postprocess_workers num_serve_frontends"),
    ("mem_fraction_static, kv_cache_dtype, disable_radix_cache", "kv_cache_config"),
    ("moe_runner_backend, moe_a2a_backend", "moe_config"),
    ("disaggregation_transfer_backend", "cache_transceiver_config"),
    ("speculative_algorithm, and the options that belong to it", "speculative_config"),
    ("load_balance_method", "attention_dp_config"),
    ("options of sglang.launch_server, or config", "extra_llm_api_config_path"),
)
"""Keys of a worker's block, and what is expected instead: what the run gives, and TensorRT-LLM's own."""

REFUSED_BY_ROUTER: Mapping[str, str] = refuse(
    (_OURS, "host port prometheus_host prometheus_port pd_disaggregation prefill decode worker_urls"),
    ("nothing: the router is told every server", "service_discovery enable_igw"),
    ("nothing: it does not list its workers", "mini_lb"),
    ("nothing: the run speaks plain HTTP", "tls_cert_path tls_key_path"),
    (NO_SECRET, "api_key control_plane_api_keys oracle_password"),
)
OF_THE_HARNESS = keys(
    "name model_name gpus gpus_per_node match_mode client_configs server_env_var world_size "
    f"context_parallel_size {BACKEND}"
)
RENAMED = {"moe_expert_parallel_size": "ep_size", "max_seq_len": "context_length"}
SIZES = keys(
    "tensor_parallel_size pipeline_parallel_size max_batch_size dp_size attn_dp_size enable_attention_dp "
    "enable_dp_attention"
)
"""Keys that :func:`_sizes` answers for."""


def check_case(case: Case) -> None:
    """Find all that SGLang or its router could not do with the case.

    Raises:
        ConfigError: every key that they cannot be given, every mode and size that they do not have.
    """
    problems = [*_mode_problems(case)]
    backends = {backend_of(spec) for spec in case.servers}
    for spec in case.servers:
        where, block = block_of(case, spec), spec.engine_config
        if backend_of(spec) not in BACKENDS or len(backends) > 1:
            expected = f"one of {', '.join(BACKENDS)}, for all servers of the case"
            problems.append(problem(case, f"{where}.{BACKEND}", repr(backend_of(spec)), expected))
        if backend_of(spec) == SGLANG:
            allowed = {"context_parallel_size"} if spec.cp == 1 else set()
            problems += key_problems(case, where, block, without(REFUSED, allowed))
            problems += _size_problems(case, spec, where)
    problems += key_problems(case, COORDINATOR, coordinator_block(case), REFUSED_BY_ROUTER)
    if problems:
        raise ConfigError(problems)


def server_options(spec: ServerSpec) -> dict[str, Any]:
    """The options of a server of ``spec`` under SGLang's names: sizes, metrics, then the others in the file's order."""
    block = without(spec.engine_config, OF_THE_HARNESS | SIZES)
    return {
        **_sizes(spec),
        # The watchdog and the telemetry read them; SGLang has them off.
        "enable_metrics": True,
        **{RENAMED.get(key, key): value for key, value in block.items()},
    }


def router_options(case: Case) -> dict[str, Any]:
    """The router's own options.

    Retries are off unless the file says ``disable_retries: false``: a request that failed is to be seen as failed.
    """
    return {"disable_retries": True, **coordinator_block(case)}


def backend_of(spec: ServerSpec) -> str:
    """``backend`` of the server's block."""
    return str(spec.engine_config.get(BACKEND) or SGLANG)


def simulated(case: Case) -> bool:
    """Whether the case's servers are simulated ones."""
    return any(backend_of(spec) == SIM for spec in case.servers)


def _sizes(spec: ServerSpec) -> dict[str, Any]:
    """Parallelism and batch. A batch is that of one attention rank in the file, of the whole server in SGLang."""
    replicas, ranks = _data_parallel(spec)
    batch = spec.engine_config.get("max_batch_size")
    return {
        "tp_size": spec.tp,
        "pp_size": spec.pp if spec.pp > 1 else None,
        "dp_size": replicas if replicas > 1 else None,
        "attn_dp_size": ranks if ranks > 1 else None,
        "max_running_requests": batch * ranks if batch else None,
    }


def _data_parallel(spec: ServerSpec) -> tuple[int, int]:
    """Replicas of the whole model, and attention ranks within one.

    The older ``enable_dp_attention`` makes ``dp_size`` the second, as SGLang itself still reads it.
    """
    block = spec.engine_config
    dp = block.get("dp_size")
    if ranks := block.get("attn_dp_size"):
        return dp or 1, ranks
    if block.get("enable_attention_dp") or block.get("enable_dp_attention"):
        return 1, dp or spec.tp
    return dp or 1, 1


def _size_problems(case: Case, spec: ServerSpec, where: str) -> Iterator[Problem]:
    """Sizes that are none, and those that need other GPUs than the harness gives the server."""
    block = spec.engine_config
    wrong = [
        problem(case, f"{where}.{key}", repr(value), "a positive integer")
        for key in ("dp_size", "attn_dp_size")
        if (value := block.get(key)) is not None and (type(value) is not int or value < 1)
    ]
    if wrong:
        yield from wrong
        return
    replicas, ranks = _data_parallel(spec)
    gpus = spec.tp * spec.pp * replicas
    nodes = math.ceil(gpus / case.gpus_per_node)
    if spec.tp % ranks:
        key = "attn_dp_size" if "attn_dp_size" in block else "dp_size"
        yield problem(case, f"{where}.{key}", str(ranks), f"a divisor of tensor_parallel_size ({spec.tp})")
    if replicas > 1 and (ranks > 1 or nodes > 1):
        expected = "1, or attn_dp_size alone: replicas of the model have one node and no attention ranks"
        yield problem(case, f"{where}.dp_size", str(replicas), expected)
    elif spec.world_size != gpus:
        expected = f"{gpus}: tensor_parallel_size x pipeline_parallel_size x dp_size"
        yield problem(case, f"{where}.world_size", str(spec.world_size), expected)
    elif nodes > 1 and (gpus % case.gpus_per_node or (spec.pp % nodes and nodes % spec.pp)):
        expected = f"whole nodes of {case.gpus_per_node} GPUs for each pipeline stage, or whole stages on each node"
        yield problem(case, f"{where}.world_size", f"{gpus} GPUs, pipeline_parallel_size {spec.pp}", expected)


def _mode_problems(case: Case) -> Iterator[Problem]:
    if case.id.runtime != "disagg":
        return
    if case.id.mode != "e2e":
        expected = "e2e: SGLang has no gate that holds GEN servers until a batch of requests is queued"
        yield problem(case, "cases", f"mode {case.id.mode}", expected)
    elif case.num_ctx == 0 or case.num_gen == 0:
        found = f"{case.num_ctx} CTX and {case.num_gen} GEN servers"
        yield problem(case, "hardware", found, "at least one of each: the router posts every request to both")
