"""What a case file's blocks say to SGLang's servers and to its router, and what they cannot say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_disagg.engines.options import NO_SECRET, block_of, coordinator_block, key_problems, refuse, without
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
    ("tensor_parallel_size: the harness places servers by it", "tp tp_size"),
    ("pipeline_parallel_size: the harness places servers by it", "pp pp_size"),
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
    (NO_SECRET, "api_key control_plane_api_keys oracle_password"),
)
OF_THE_HARNESS = frozenset(
    "name model_name gpus gpus_per_node match_mode client_configs server_env_var world_size "
    f"context_parallel_size {BACKEND}".split()
)
RENAMED = {"moe_expert_parallel_size": "ep_size", "max_seq_len": "context_length"}
SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "max_batch_size", "enable_attention_dp", "dp_size")
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
    block = without(spec.engine_config, {*OF_THE_HARNESS, *SIZES})
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
    block = spec.engine_config
    attention_dp = _attention_dp(block)
    dp = block.get("dp_size") or (spec.tp if attention_dp else None)
    ranks = block.get("attn_dp_size") or (dp if attention_dp else 1)
    batch = block.get("max_batch_size")
    return {
        "tp_size": spec.tp,
        "pp_size": spec.pp if spec.pp > 1 else None,
        "dp_size": dp,
        "enable_dp_attention": attention_dp,
        "max_running_requests": batch * ranks if batch else None,
    }


def _attention_dp(block: Mapping[str, Any]) -> bool:
    return bool(block.get("enable_attention_dp") or block.get("enable_dp_attention"))


def _size_problems(case: Case, spec: ServerSpec, where: str) -> Iterator[Problem]:
    """Replicas of the whole model have GPUs of their own, which the harness has to know of."""
    block = spec.engine_config
    dp = block.get("dp_size")
    if dp is None:
        return
    if type(dp) is not int or dp < 1:
        yield problem(case, f"{where}.dp_size", repr(dp), "a positive integer")
        return
    if _attention_dp(block):
        return
    gpus = spec.tp * spec.pp * dp
    if spec.world_size != gpus:
        expected = f"{gpus}: tensor_parallel_size x pipeline_parallel_size x dp_size"
        yield problem(case, f"{where}.world_size", str(spec.world_size), expected)


def _mode_problems(case: Case) -> Iterator[Problem]:
    if case.id.runtime != "disagg":
        return
    if case.id.mode != "e2e":
        expected = "e2e: SGLang has no gate that holds GEN servers until a batch of requests is queued"
        yield problem(case, "cases", f"mode {case.id.mode}", expected)
    elif case.num_ctx == 0 or case.num_gen == 0:
        found = f"{case.num_ctx} CTX and {case.num_gen} GEN servers"
        yield problem(case, "hardware", found, "at least one of each: the router posts every request to both")
