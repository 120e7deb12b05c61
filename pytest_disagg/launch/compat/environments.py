"""What each role's command gets in its environment, from the case: TensorRT-LLM's names and rules."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pytest_disagg.config.build import variables
from pytest_disagg.config.case import Case
from pytest_disagg.config.cluster_env import EnvironmentChange

GEN_ONLY = "TRTLLM_DISAGG_BENCHMARK_GEN_ONLY"
WORKER_BASE = "FLASHINFER_JIT_DIR=/tmp/flashinfer_jit_cache_${SLURM_LOCALID} HF_HOME=/tmp/hf_home"
"""Before every CTX and GEN server's own; the reference is filled in by each task."""
_NO_OVERLAP = {"TRTLLM_DISABLE_KV_CACHE_TRANSFER_OVERLAP": "1"}
_QUEUE = "TLLM_BENCHMARK_REQ_QUEUES_SIZE"


@dataclass(frozen=True)
class Environments:
    """Variables by role; ``job`` is for every process of the job. ``notes`` say which value is not the plain one."""

    ctx: Mapping[str, str] = field(default_factory=dict)
    gen: Mapping[str, str] = field(default_factory=dict)
    server: Mapping[str, str] = field(default_factory=dict)
    benchmark: Mapping[str, str] = field(default_factory=dict)
    job: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def environments(case: Case, profile: Mapping[str, str] | None = None) -> Environments:
    """The environments of a disaggregated case. ``profile`` is each kind of worker's profiled range (ctx, gen).

    ``gen_only``: GEN servers begin to generate only once :func:`queue_size` requests wait, and do not overlap KV
    transfers. On CTX servers the same variables were seen to hang, so they get neither. Without CTX servers GEN servers
    and coordinator are told to make up the context themselves; in the older grammar that goes with the gate.
    """
    file_env = case.document.get("environment") or {}
    gen_spec, ctx_spec = case.server("gen"), case.server("ctx")
    gen: dict[str, str] = dict(gen_spec.env) if gen_spec else {}
    ctx: dict[str, str] = dict(ctx_spec.env) if ctx_spec else {}
    server = dict(case.coordinator_env)
    job: dict[str, str] = {}
    notes: list[str] = []
    no_context = case.num_ctx == 0
    if case.id.mode == "gen_only" and (case.id.legacy or not no_context):
        size, whole = queue_size(case), case.clients[0].concurrency
        if size != whole:
            notes.append(
                f"{_QUEUE}={size}: of {whole} concurrent requests, what each of {case.num_gen} GEN servers "
                "is sure to hold at once"
            )
        gen = {**_NO_OVERLAP, _QUEUE: str(size), **gen}
    if no_context:
        job = {GEN_ONLY: "1"}
        gen, server = {**job, **gen}, {**job, **server}
    ranges = profile or {}
    return Environments(
        ctx={**_profiled(ranges.get("ctx")), **ctx},
        gen={**_profiled(ranges.get("gen")), **gen},
        server=server,
        benchmark=variables(str(file_env.get("benchmark_env_var") or "")),
        job=job,
        notes=tuple(notes),
    )


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


def text_of(values: Mapping[str, str], *, before: str = "", exported: bool = False) -> str:
    """``A=1 B='x y'``, to stand before a command, or ``export A=1 B='x y' &&``; ``before`` is text that goes first."""
    words = " ".join(filter(None, (before, *(f"{name}={shlex.quote(value)}" for name, value in values.items()))))
    return f"export {words} &&" if words and exported else words


def change_text(change: EnvironmentChange, *, exported: bool = False) -> str:
    """``unset A B && C=d``, to stand before everything else of a command."""
    unset = f"unset {' '.join(change.unset)} &&" if change.unset else ""
    return " ".join(filter(None, (unset, text_of(change.set, exported=exported))))


def _profiled(text: str | None) -> dict[str, str]:
    return {} if text is None else {"TLLM_PROFILE_START_STOP": text}
