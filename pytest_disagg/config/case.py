"""The effective case: one test id resolved against its file and all overrides. Plain data, shared by every role.

These types are what the rest of the package works with; only :mod:`pytest_disagg.config` builds them. Nothing here
imports pydantic at run time, so that naming the types is free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pytest_disagg.config.settings import Settings

if TYPE_CHECKING:
    from pytest_disagg.config.accuracy_tasks import AccuracyTask
    from pytest_disagg.config.blocks import (
        Clocks,
        Discovery,
        Gate,
        MachineRules,
        ModelSource,
        Precheck,
        Slo,
        Telemetry,
        Timeouts,
        VerdictBlock,
    )
    from pytest_disagg.config.sim import SimSettings

Mode = Literal["e2e", "gen_only", "gen_only_no_context", "ctx_only", "aggregated"]
Runtime = Literal["disagg", "alone"]
ServerKind = Literal["ctx", "gen", "server"]
NATIVE = "native"
"""The load generator of this package, and that of a load that names none."""

Prefix = Literal["disagg", "disagg_upload", "aggr", "aggr_upload"]


@dataclass(frozen=True)
class CaseId:
    """A parsed test id: ``<prefix>-[<mode>-[<modifier>-]]<stem>[-<server name>]``.

    ``legacy`` marks the older grammar without a mode (``disagg_upload-<config>``), which has its own rule for when CTX
    servers are dropped and its own environment.
    """

    text: str
    prefix: Prefix
    mode: Mode
    modifier: str | None
    stem: str
    servers: tuple[str, ...] = ()
    legacy: bool = False

    @property
    def upload(self) -> bool:
        return self.prefix.endswith("_upload")

    @property
    def runtime(self) -> Runtime:
        return "disagg" if self.prefix.startswith("disagg") else "alone"


@dataclass(frozen=True)
class LoadSpec:
    """One load on a deployment: one concurrency. ``num_prompts`` = concurrency x iterations.

    ``isl``/``osl`` are tokens; with ``random_range_ratio`` r lengths are uniform in [len*(1-r), len*(1+r)].
    ``request_rate`` is requests per second (Poisson arrivals), None for as fast as the concurrency allows.
    ``dataset_file`` is None for random prompts; a file that the case names and that is missing is an error at prepare.
    ``accuracy`` are the lm_eval tasks that follow; with ``only_run_accuracy`` there is no load before them.
    """

    name: str
    concurrency: int
    iterations: int
    isl: int
    osl: int
    random_range_ratio: float = 0.0
    streaming: bool = True
    use_chat_template: bool = False
    trust_remote_code: bool = True
    backend: str = "openai"
    request_rate: float | None = None
    dataset_file: Path | None = None
    benchmark_client: str = NATIVE
    use_nv_sa_benchmark: bool = False
    only_run_accuracy: bool = False
    warmup: bool = True
    env: Mapping[str, str] = field(default_factory=dict)
    env_text: str = ""
    accuracy: tuple[AccuracyTask, ...] = ()

    @property
    def num_prompts(self) -> int:
        return self.concurrency * self.iterations


@dataclass(frozen=True)
class ServerSpec:
    """One kind of server: ``count`` equal CTX or GEN servers, or one aggregated server with its clients.

    ``engine_config`` is the file's block for the engine, verbatim (harness keys included; an engine strips what is not
    its own). ``world_size`` is ranks = GPUs: ``world_size`` key where the file gives one, else TP x PP x CP.
    """

    kind: ServerKind
    name: str
    model: str
    count: int
    world_size: int
    engine_config: Mapping[str, Any]
    env: Mapping[str, str] = field(default_factory=dict)
    env_text: str = ""
    clients: tuple[LoadSpec, ...] = ()

    @property
    def tp(self) -> int:
        return int(self.engine_config.get("tensor_parallel_size") or 1)

    @property
    def pp(self) -> int:
        return int(self.engine_config.get("pipeline_parallel_size") or 1)

    @property
    def cp(self) -> int:
        return int(self.engine_config.get("context_parallel_size") or 1)


@dataclass(frozen=True)
class Source:
    """What a case was resolved from: with its id, all that its digest depends on.

    ``document`` is the file's content before anything lay over it. ``settings`` has every placeholder that was filled,
    whoever filled it, and the models root in force.
    """

    document: Mapping[str, Any] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    iteration_factor: int = 1


@dataclass(frozen=True)
class Case:
    """One test id, resolved. Every role of a run computes the same one; ``digest`` proves it.

    ``servers`` holds GEN then CTX for a disaggregated run (CTX absent where the mode drops it) and, for a run that one
    process plays alone, each aggregated server in file order. ``clients`` is the load of a disaggregated run, one per
    concurrency; an aggregated server carries its own. ``document`` is the file's content after overrides.
    ``telemetry`` is None where nothing is sampled.
    """

    id: CaseId
    path: Path
    engine: str
    model: str
    servers: tuple[ServerSpec, ...]
    clients: tuple[LoadSpec, ...]
    gpus_per_node: int
    share_nodes: bool
    coordinator_env: Mapping[str, str]
    coordinator_env_text: str
    supported_gpus: tuple[str, ...]
    timeouts: Timeouts
    gate: Gate
    machine: MachineRules
    slo: Slo | None
    sim: SimSettings
    document: Mapping[str, Any]
    digest: str
    rehearsal: bool = False
    notes: tuple[str, ...] = ()
    precision: str = ""
    spec_decoding: bool = False
    numa_bind: bool = False
    total_s: float = 10800.0
    job_time_s: float | None = None
    precheck: Precheck | None = None
    discovery: Discovery | None = None
    telemetry: Telemetry | None = None
    model_source: ModelSource | None = None
    clocks: Clocks | None = None
    nsys: bool = False
    verdict: VerdictBlock | None = None
    source: Source = Source()

    def machine_rules(self, *, simulated: bool) -> MachineRules | None:
        """What the machines of a run are held against; None where they are not looked at.

        A rehearsal looks at none. Simulated servers need no machine of any kind: only where the file has the block.
        """
        unasked = simulated and "machine" not in self.document
        return None if self.rehearsal or unasked else self.machine

    def server(self, kind: ServerKind) -> ServerSpec | None:
        """The spec of that kind; None where this case has none."""
        return next((spec for spec in self.servers if spec.kind == kind), None)

    @property
    def num_ctx(self) -> int:
        spec = self.server("ctx")
        return spec.count if spec else 0

    @property
    def num_gen(self) -> int:
        spec = self.server("gen")
        return spec.count if spec else 0

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of a disaggregated run, in the order in which they are placed: GEN, CTX, coordinator, client."""
        if self.id.runtime == "alone":
            return ()
        gen = [f"GEN_{i}" for i in range(self.num_gen)]
        ctx = [f"CTX_{i}" for i in range(self.num_ctx)]
        return (*gen, *ctx, "DISAGG_SERVER", "BENCHMARK")
