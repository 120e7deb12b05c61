"""The blocks of a case file that are ours to define, so unknown keys are errors: ``timeouts``, ``gate``, ``slo``,
``precheck``, ``verdict``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from pytest_disagg.config.fields import unexpected

Seconds = Annotated[float, Field(gt=0, strict=True)]
Ratio = Annotated[float, Field(ge=0, le=1, strict=True)]


class OurBlock(BaseModel):
    """A block this project owns: unknown keys are errors, numbers must be finite (and are no text, no booleans)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Timeouts(OurBlock):
    """Seconds that each stage of a run may take. The whole run's limit is ``slurm.timeout``."""

    launch_s: Seconds = Field(default=600, description="a role's process started and its server has an address")
    ready_s: Seconds = Field(default=3600, description="every server routable behind the coordinator")
    probe_s: Seconds = Field(default=300, description="one real streamed request came back with tokens")
    warmup_s: Seconds = Field(default=600, description="warm-up before one load; never part of the statistics")
    measure_s: Seconds | None = Field(
        default=None, description="one load on one concurrency; default: what the whole run leaves, evenly"
    )
    request_s: Seconds | None = Field(default=None, description="one request; default: the load's own limit")
    store_s: Seconds = Field(default=60, description="gate, judge and store together")
    stop_s: Seconds = Field(default=60, description="every role has stopped its processes after the outcome")
    grace_s: Seconds = Field(default=10, description="between TERM and KILL of a process group")
    stall_s: Seconds = Field(default=300, description="no progress (tokens, iterations, new log lines) for this long")
    heartbeat_timeout_s: Seconds = Field(default=10, description="a role whose beat stood still this long is dead")


class Gate(OurBlock):
    """When a measurement may be judged at all."""

    min_success_ratio: Ratio = Field(default=1.0, description="succeeded requests / requests")
    min_concurrency_ratio: Ratio = Field(default=0.9, description="achieved / requested concurrency")
    min_output_ratio: Ratio = Field(default=1.0, description="output tokens / asked, where ignore_eos holds")
    min_percentile_samples: Annotated[int, Field(ge=1, strict=True)] = Field(
        default=1, description="samples per 1/(1-p) that a percentile needs to be quoted: p99 needs 100 x this"
    )
    max_client_lag_ms: Annotated[float, Field(gt=0, strict=True)] = Field(
        default=50.0, description="p99 of the client's own event-loop lag; above it the client was the bottleneck"
    )
    max_client_cpu: Annotated[float, Field(gt=0, strict=True)] = Field(
        default=0.95, description="CPU seconds per wall second of the client's process; above it it was the bottleneck"
    )


class Slo(OurBlock):
    """Limits that a request must meet to count as goodput (milliseconds); a missing one is not checked."""

    ttft_ms: Annotated[float, Field(gt=0, strict=True)] | None = None
    tpot_ms: Annotated[float, Field(gt=0, strict=True)] | None = None
    e2el_ms: Annotated[float, Field(gt=0, strict=True)] | None = None


def _command(value: Any) -> Any:
    words = value if isinstance(value, (list, tuple)) else ()
    if not words or not all(isinstance(word, str) for word in words) or not words[0].strip():
        raise unexpected("a command as a list of words, the program first")
    return tuple(words)


class Precheck(OurBlock):
    """A command that every rank of every server runs in a Slurm job before the servers; no shell sees it."""

    command: Annotated[tuple[str, ...], BeforeValidator(_command)] = Field(
        description="program and arguments; it ends with 0 where the server can be started"
    )
    timeout_s: Seconds = Field(default=300, description="all servers' ranks together, beside the run's own limit")


class MetricRules(OurBlock):
    """How one metric is judged, where that differs from what the metric is by itself."""

    min_effect: Annotated[float, Field(gt=0, lt=1, strict=True)] | None = Field(
        default=None, description="smallest relative change that matters: 0.03 is 3 %"
    )
    pre_merge_min_effect: Annotated[float, Field(gt=0, lt=1, strict=True)] | None = Field(
        default=None, description="the same for a change that is not merged yet"
    )
    role: Literal["gate", "report"] | None = Field(default=None, description="whether it decides or is only shown")


class VerdictBlock(OurBlock):
    """How this case is judged against its history."""

    remeasure: Annotated[int, Field(ge=0, le=20, strict=True)] = Field(
        default=5, description="how often a suspected load may be measured again"
    )
    metrics: dict[str, MetricRules] = Field(default={}, description="by metric, e.g. median_ttft: {min_effect: 0.08}")


EngineName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
CaseName = Literal[
    "disagg-e2e",
    "disagg-gen_only",
    "disagg-gen_only_no_context",
    "disagg_upload-e2e",
    "disagg_upload-gen_only",
    "disagg_upload-gen_only_no_context",
    "aggr",
    "aggr_upload",
    "aggr-ctx_only",
    "aggr_upload-ctx_only",
]
