"""What each role's command gets in its environment, from the case: TensorRT-LLM's names and rules."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_disagg.config.build import variables
from pytest_disagg.config.case import Case
from pytest_disagg.config.cluster_env import EnvironmentChange
from pytest_disagg.engines.trtllm.environment import (
    GEN_ONLY,
    QUEUE,
    mode_environment,
    queue_size,
    waits_for_a_queue,
    without_context,
)
from pytest_disagg.engines.trtllm.environment import WORKER_BASE as _WORKER_BASE

WORKER_BASE = " ".join(f"{name}={value}" for name, value in _WORKER_BASE.items())
"""As text, since the reference in it must stay one."""


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
    if waits_for_a_queue(case):
        size, whole = queue_size(case), case.clients[0].concurrency
        if size != whole:
            notes.append(
                f"{QUEUE}={size}: of {whole} concurrent requests, what each of {case.num_gen} GEN servers "
                "is sure to hold at once"
            )
    gen = {**mode_environment(case, "gen"), **gen}
    server = {**mode_environment(case, None), **server}
    if without_context(case):
        job = {GEN_ONLY: "1"}
    ranges = profile or {}
    return Environments(
        ctx={**_profiled(ranges.get("ctx")), **ctx},
        gen={**_profiled(ranges.get("gen")), **gen},
        server=server,
        benchmark=variables(str(file_env.get("benchmark_env_var") or "")),
        job=job,
        notes=tuple(notes),
    )


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
