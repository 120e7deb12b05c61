"""Variables of TensorRT-LLM's benchmark modes, as its launcher (``jenkins/scripts/perf/submit.py``) sets them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_disagg.config.case import Case, ServerKind

GEN_ONLY = "TRTLLM_DISAGG_BENCHMARK_GEN_ONLY"
QUEUE = "TLLM_BENCHMARK_REQ_QUEUES_SIZE"
NO_OVERLAP = "TRTLLM_DISABLE_KV_CACHE_TRANSFER_OVERLAP"
WORKER_BASE: Mapping[str, str] = {
    "FLASHINFER_JIT_DIR": "/tmp/flashinfer_jit_cache_${SLURM_LOCALID}",
    "HF_HOME": "/tmp/hf_home",
}
"""Before every CTX and GEN server's own; the reference is filled in by each task."""


def waits_for_a_queue(case: Case) -> bool:
    """Whether GEN servers begin only once :func:`queue_size` requests wait. In the older grammar without CTX, too."""
    return case.id.mode == "gen_only" and (case.id.legacy or case.num_ctx > 0)


def without_context(case: Case) -> bool:
    """Whether GEN servers and coordinator have to make up the context themselves."""
    return case.id.runtime == "disagg" and case.num_ctx == 0


def mode_environment(case: Case, kind: ServerKind | None) -> dict[str, str]:
    """What the mode adds to a GEN server's environment, and to the coordinator's (``kind`` None).

    On CTX servers the variables of the fill gate were seen to hang, so those get nothing.
    """
    added: dict[str, str] = {}
    if kind == "gen" and waits_for_a_queue(case):
        added = {NO_OVERLAP: "1", QUEUE: str(queue_size(case))}
    if kind in ("gen", None) and without_context(case):
        added = {GEN_ONLY: "1", **added}
    return added


def queue_size(case: Case) -> int:
    """How many requests a GEN server of a ``gen_only`` case waits for before it begins.

    The coordinator spreads ``concurrency`` requests over N servers, so the one with the fewest holds
    ``concurrency // N`` of them; no server holds more than its capacity (``max_batch_size``, times the tensor-parallel
    size where attention is data-parallel). The smaller of the two, and at least 1: a server must not wait for requests
    that went elsewhere. With one server that is what TensorRT-LLM's launcher computes; for several it has the total.
    """
    concurrency = case.clients[0].concurrency
    config: Mapping[str, Any] = gen.engine_config if (gen := case.server("gen")) else {}
    capacity = int(config.get("max_batch_size") or concurrency)
    if config.get("enable_attention_dp"):
        capacity *= int(config.get("tensor_parallel_size") or 1)
    return max(1, min(concurrency // max(case.num_gen, 1), capacity))
