"""The blocks of a case file that are ours to define, so unknown keys are errors: ``timeouts``, ``gate``, ``slo``,
``precheck``, ``discovery``, ``telemetry``, ``model``, ``machine``, ``clocks``, ``verdict``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pytest_disagg.config.fields import unexpected

Seconds = Annotated[float, Field(gt=0, strict=True)]
Ratio = Annotated[float, Field(ge=0, le=1, strict=True)]


class OurBlock(BaseModel):
    """A block this project owns: unknown keys are errors, numbers must be finite (and are no text, no booleans)."""

    # Every role reads one file, of one kind: validators of blocks that it never meets would be built for nothing.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Timeouts(OurBlock):
    """Seconds that each stage of a run may take. The whole run's limit is ``slurm.timeout``."""

    prepare_s: Seconds = Field(default=3600, description="a model that was missing is there; only with `model`")
    launch_s: Seconds = Field(default=600, description="a role's process started and its server has an address")
    ready_s: Seconds = Field(default=3600, description="every server routable behind the coordinator")
    probe_s: Seconds = Field(default=300, description="one real streamed request came back with tokens")
    warmup_s: Seconds = Field(default=600, description="warm-up before one load; never part of the statistics")
    measure_s: Seconds | None = Field(
        default=None, description="one load on one concurrency; default: what the whole run leaves, evenly"
    )
    accuracy_s: Seconds = Field(default=1800, description="one task of lm_eval, after the loads of a deployment")
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


class Discovery(OurBlock):
    """How the processes of an engine that is told no addresses (Dynamo) find each other.

    With ``etcd`` and without addresses, etcd and NATS are started beside the coordinator.
    """

    backend: Literal["file", "etcd"] | None = Field(
        default=None, description="a folder of one machine, or etcd and NATS; default: file on one node, else etcd"
    )
    etcd: Annotated[str, Field(pattern=r"^https?://[^\s/]+$")] | None = Field(
        default=None, description="an etcd that runs already: http://host:port"
    )
    nats: Annotated[str, Field(pattern=r"^nats://[^\s/]+$")] | None = Field(
        default=None, description="a NATS server that runs already: nats://host:port"
    )

    @model_validator(mode="after")
    def _both_or_none(self) -> Discovery:
        if (self.etcd or self.nats) and self.backend == "file":
            raise unexpected("backend: etcd beside the address of one that runs", f"backend {self.backend!r}")
        if bool(self.etcd) != bool(self.nats):
            raise unexpected("both etcd and nats, or none of them", "one of them alone")
        return self


class ModelSource(OurBlock):
    """Where a model comes from that is not in the models root yet; it is fetched before the servers start.

    In ``repo`` and in the words of ``command`` ``{model}`` is the model's name; in those of ``command`` ``{folder}`` is
    the folder to fill and ``{revision}`` the revision.
    """

    repo: Annotated[str, Field(pattern=r"^[A-Za-z0-9._{}-]+(/[A-Za-z0-9._{}-]+)?$")] | None = Field(
        default=None, description="repository of the Hugging Face Hub: owner/name"
    )
    revision: Annotated[str, Field(pattern=r"^[^\s:]+$")] = Field(
        default="main", description="branch, tag or commit of the repository"
    )
    command: Annotated[tuple[str, ...], BeforeValidator(_command)] | None = Field(
        default=None, description="instead of a repository: program and arguments that fill {folder}"
    )
    exclude: tuple[str, ...] = Field(default=(), description="patterns of files of the repository to leave out")
    token_file: str | None = Field(default=None, description="file with the Hub's token; default: HF_TOKEN")
    scope: Literal["cluster", "node"] = Field(
        default="cluster", description="whether all nodes see one models root, or each has its own"
    )

    @model_validator(mode="after")
    def _one_source(self) -> ModelSource:
        if (self.repo is None) == (self.command is None):
            raise unexpected("either repo or command", "none of them" if self.repo is None else "both of them")
        if self.command is not None and not any("{folder}" in word for word in self.command):
            raise unexpected("{folder} in a word of command: the folder that it has to fill", " ".join(self.command))
        return self


Action = Literal["fail", "note", "ignore"]
SeriesFact = Literal["power_cap", "clocks", "mig", "driver"]


class MachineRules(OurBlock):
    """What the GPUs of every server and the host of the client must be like before the load."""

    foreign_processes: Action = Field(default="fail", description="processes that are not of this run on our GPUs")
    foreign_memory_mib: Annotated[int, Field(gt=0, strict=True)] = Field(
        default=2048,
        description="memory in use before a server starts, by nobody who can be seen: from here on foreign",
    )
    ecc: Action = Field(default="fail", description="uncorrected errors, or repairs that wait for a reset")
    mig: Action = Field(default="fail", description="MIG is on")
    throttled: Action = Field(
        default="note", description="heat or the power supply hold the clocks down before the load"
    )
    busy_host: Literal["invalid", "note", "ignore"] = Field(
        default="note", description="others than this run are busy on the client's host"
    )
    max_host_cpu: Ratio = Field(default=0.25, description="share of the host's CPUs from which on others are busy")
    series: tuple[SeriesFact, ...] = Field(
        default=("power_cap", "clocks", "mig"),
        description="facts that keep records apart: those of one series share them",
    )
    timeout_s: Seconds = Field(default=30, description="for nvidia-smi to answer")


Mhz = Annotated[int, Field(gt=0, le=10_000, strict=True)]


class Clocks(OurBlock):
    """Clocks that every GPU of a server is locked to before the load; they are given back when the run ends."""

    gpu_mhz: Mhz = Field(description="clock of the GPU (SM)")
    memory_mhz: Mhz | None = Field(default=None, description="clock of its memory")
    command: Annotated[tuple[str, ...], BeforeValidator(_command)] = Field(
        default=("nvidia-smi",), description="what locks them, e.g. [sudo, -n, nvidia-smi]"
    )


class Telemetry(OurBlock):
    """What is sampled while a deployment serves. It reports, and never decides anything."""

    enabled: Annotated[bool, Field(strict=True)] = Field(default=True, description="false: nothing is sampled")
    interval_s: Annotated[float, Field(ge=0.1, le=3600, strict=True)] = Field(
        default=1.0, description="seconds between two samples"
    )
    metrics: tuple[str, ...] = Field(
        default=(), description="metrics of the engine that go into the record besides those that every engine has"
    )


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
