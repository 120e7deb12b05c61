"""The two kinds of case file as Pydantic models: TensorRT-LLM's perf-sanity schema, and our own blocks beside it.

Who owns a block decides how strict it is. Ours (``timeouts``, ``gate``, ``slo``, ``sim``, ``precheck``) refuse unknown
keys. TensorRT-LLM's harness blocks are :class:`Harness`: keys beyond the known ones are taken, unless they look like a
slip of a known one. An engine's blocks (:class:`ServerBlock`) pass through as they are; only what this package reads of
them has a type.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from pytest_disagg.config.accuracy import AccuracyBlock
from pytest_disagg.config.blocks import (
    Clocks,
    Discovery,
    EngineName,
    Gate,
    MachineRules,
    ModelSource,
    Precheck,
    Slo,
    Telemetry,
    Timeouts,
    VerdictBlock,
)
from pytest_disagg.config.fields import (
    Concurrencies,
    Count,
    EnvText,
    Flag,
    Integer,
    JobTime,
    Map,
    Name,
    Natural,
    Rate,
    Section,
    Share,
    Text,
    Word,
    Words,
    unexpected,
)
from pytest_disagg.config.ids import AGGR_FILE_CASES, DISAGG_FILE_CASES
from pytest_disagg.config.sim import SimSettings

# Field names such as model_name are the files', not pydantic's.
_OPEN = ConfigDict(extra="allow", frozen=True, protected_namespaces=(), defer_build=True)


class Harness(BaseModel):
    """A block that other tools define: unknown keys are taken, except those within ``slip_ratio`` of a known one."""

    model_config = _OPEN
    slip_ratio: ClassVar[float] = 0.8
    also_known: ClassVar[tuple[str, ...]] = ()
    """Keys that only other tools read."""


class Metadata(Harness):
    model_name: Word | None = None
    precision: Text | None = None
    supported_gpus: Words = ()
    also_known = (
        "model_dir_name",
        "script_file",
        "benchmark_type",
        "dataset_file",
        "metrics",
        "accuracy",
        "config_path",
    )


class SlurmBlock(Harness):
    timeout: Rate | None = Field(default=None, description="seconds that the whole run may take; default 10800")
    job_time: JobTime = Field(default=None, description="Slurm's time limit of the job")
    numa_bind: Flag = False
    also_known = ("script_file", "partition", "account", "job_name", "extra_args", "set_segment")


class Profiling(Harness):
    nsys_on: Flag = Field(default=False, description="Slurm jobs: every server runs under nsys")
    also_known = ("ctx_profile_range", "gen_profile_range")


def _rate(value: Any) -> Any:
    return None if value in ("inf", float("inf")) else value


class Benchmark(Harness):
    mode: Text = "e2e"
    concurrency_list: Concurrencies = (1,)
    multi_round: Count = Field(default=1, description="requests = concurrency x multi_round")
    input_length: Count = Field(default=1024, description="prompt tokens of a random request")
    output_length: Count = Field(default=1024, description="output tokens asked for")
    benchmark_ratio: Share = Field(
        default=0.0, description="lengths are uniform in [length x (1 - r), length x (1 + r)]"
    )
    streaming: Flag = True
    use_chat_template: Flag = False
    request_rate: Annotated[Rate | None, BeforeValidator(_rate)] = Field(
        default=None, description="requests per second with Poisson arrivals; default: closed loop"
    )
    dataset_file: Text | None = None
    use_nv_sa_benchmark: Flag = False
    benchmark_client: Text | None = None
    only_run_accuracy: Flag = False


class Hardware(Harness):
    gpus_per_node: Count = Field(description="GPUs of one node")
    share_nodes: Flag = Field(default=False, description="servers smaller than a node may share one")


class DisaggHardware(Hardware):
    num_ctx_servers: Natural = Field(description="number of CTX servers")
    num_gen_servers: Natural = Field(description="number of GEN servers")
    also_known = ("gpus_per_ctx_server", "gpus_per_gen_server")


class Environment(Harness):
    worker_env_var: EnvText = ""
    ctx_worker_env_var: EnvText = ""
    gen_worker_env_var: EnvText = ""
    server_env_var: EnvText = ""
    client_env_var: EnvText = ""
    benchmark_env_var: EnvText = ""
    slip_ratio = 0.9
    also_known = (
        "container_image",
        "container_mount",
        "model_path",
        "trtllm_repo",
        "trtllm_wheel_path",
        "build_wheel",
        "cuda_architectures",
        "work_dir",
        "llm_models_root",
        "open_search_db_base_url",
    )


class SpeculativeConfig(BaseModel):
    model_config = _OPEN
    decoding_type: Text | None = None


class ServerBlock(BaseModel):
    """An engine's block. The keys here are the ones this package reads; all others are the engine's."""

    model_config = _OPEN
    sizes: ClassVar[tuple[str, ...]] = (
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "context_parallel_size",
        "moe_expert_parallel_size",
        "world_size",
    )
    """Keys that decide how many GPUs a server gets: a slip here is an error even in an engine's block."""

    name: Name | None = None
    model_name: Word | None = None
    tensor_parallel_size: Count | None = None
    pipeline_parallel_size: Count | None = None
    context_parallel_size: Count | None = None
    moe_expert_parallel_size: Integer | None = None
    world_size: Natural | None = None
    max_batch_size: Count | None = None
    max_num_tokens: Count | None = None
    max_seq_len: Natural | None = None
    stream_interval: Count | None = None
    num_postprocess_workers: Natural | None = None
    num_serve_frontends: Count | None = None
    print_iter_log: Flag | None = None
    enable_attention_dp: Flag | None = None
    backend: Text | None = None
    moe_config: Map | None = None
    kv_cache_config: Map | None = None
    attention_dp_config: Map | None = None
    cache_transceiver_config: Map | None = None
    speculative_config: SpeculativeConfig | None = None
    extra_llm_api_config_path: Text | None = None

    @property
    def world(self) -> int:
        """Ranks of one server."""
        sizes = (self.tensor_parallel_size, self.pipeline_parallel_size, self.context_parallel_size)
        product = 1
        for size in sizes:
            product *= size or 1
        return self.world_size or product

    @property
    def speculates(self) -> bool:
        return bool(self.speculative_config and self.speculative_config.decoding_type)


class ClientBlock(Harness):
    """One load of an aggregated server."""

    name: Name | None = None
    concurrency: Count = 1
    iterations: Count = 1
    isl: Count = 1024
    osl: Count = 1024
    random_range_ratio: Share = 0.0
    backend: Text = "openai"
    streaming: Flag = True
    use_chat_template: Flag = False
    trust_remote_code: Flag = True
    request_rate: Annotated[Rate | None, BeforeValidator(_rate)] = None
    dataset_file: Text | None = None
    use_nv_sa_benchmark: Flag = False
    benchmark_client: Text | None = None
    only_run_accuracy: Flag = False
    accuracy_config: AccuracyBlock | None = None
    client_env_var: EnvText = ""
    warmup: Flag | None = None


class AggrServer(ServerBlock):
    server_env_var: EnvText = ""
    client_configs: Annotated[list[ClientBlock], Field(min_length=1)]


class WorkerConfig(Harness):
    ctx: ServerBlock | None = Field(default=None, description="the engine's config of every CTX server")
    gen: ServerBlock | None = Field(default=None, description="the engine's config of every GEN server")


class CaseFile(Harness):
    """What both kinds of file have."""

    engine: EngineName = Field(default="trtllm", description="the serving engine")
    metadata: Annotated[Metadata, Section] = Metadata()
    slurm: Annotated[SlurmBlock, Section] = SlurmBlock()
    environment: Annotated[Environment, Section] = Environment()
    timeouts: Annotated[Timeouts, Section] = Timeouts()
    gate: Annotated[Gate, Section] = Gate()
    sim: Annotated[SimSettings, Section] = SimSettings()
    slo: Slo | None = None
    precheck: Precheck | None = None
    telemetry: Annotated[Telemetry, Section] = Telemetry()
    discovery: Annotated[Discovery, Section] = Discovery()
    coordinator_config: Map | None = Field(
        default=None, description="options of the coordinator, handed to the engine as they are"
    )
    model: ModelSource | None = None
    machine: Annotated[MachineRules, Section] = MachineRules()
    clocks: Clocks | None = None
    verdict: VerdictBlock | None = None
    profiling: Annotated[Profiling, Section] = Profiling()
    also_known = ("sequence", "cluster")


def _listing(allowed: tuple[str, ...]) -> Any:
    return {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"enum": list(allowed)}}


_RESERVED = ("port", "hostname", "internal_request_auth_key", "context_servers", "generation_servers")


def _server_config_extra(value: Any) -> Any:
    for key in value if isinstance(value, dict) else ():
        if key in _RESERVED:
            raise unexpected(f"none of {', '.join(_RESERVED)}, which are computed", f"the key {key!r}")
    return value


class DisaggFile(CaseFile):
    """A disaggregated file: CTX and GEN servers behind a coordinator, and the load on it."""

    cases: list[str] | None = Field(
        default=None, description="case names this file offers", json_schema_extra=_listing(DISAGG_FILE_CASES)
    )
    benchmark: Annotated[Benchmark, Section] = Benchmark()
    hardware: Annotated[DisaggHardware, Section]
    worker_config: Annotated[WorkerConfig, Section]
    accuracy: AccuracyBlock | None = None
    internal_request_auth_key: Word | None = None
    router_config: Map | None = None
    ctx_router_config: Map | None = None
    gen_router_config: Map | None = None
    server_config_extra: Annotated[Map, BeforeValidator(_server_config_extra)] | None = None
    cache_transceiver_precheck: Any = None


class AggrFile(CaseFile):
    """An aggregated file: servers that run one after the other, each with its loads."""

    cases: list[str] | None = Field(
        default=None, description="case names this file offers", json_schema_extra=_listing(AGGR_FILE_CASES)
    )
    hardware: Annotated[Hardware, Section]
    server_configs: Annotated[list[AggrServer], Field(min_length=1)]
    accuracy: AccuracyBlock | None = None
