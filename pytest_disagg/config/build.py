"""From a validated file to servers and loads, per mode: the rules of perf-sanity's test, in one place.

=====================  =======================================  ==================================================
mode                   servers                                  loads
=====================  =======================================  ==================================================
e2e                    GEN, CTX                                 one per concurrency, warm-up
gen_only               GEN, CTX                                 first concurrency, one iteration, no warm-up
gen_only_no_context    GEN                                      first concurrency, one iteration, no warm-up
ctx_only               one, the CTX block without a transceiver one per concurrency, OSL 1, random, warm-up
aggregated             each selected one                        its own
=====================  =======================================  ==================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_disagg.config.accuracy import expectations
from pytest_disagg.config.accuracy_tasks import AccuracyTask
from pytest_disagg.config.case import NATIVE, CaseId, LoadSpec, Mode, ServerKind, ServerSpec
from pytest_disagg.config.env import join_env, parse_env
from pytest_disagg.config.names import load_name, server_name
from pytest_disagg.config.overrides import unshared
from pytest_disagg.config.placeholders import is_placeholder
from pytest_disagg.config.schema import AggrFile, AggrServer, Benchmark, ClientBlock, DisaggFile, ServerBlock
from pytest_disagg.errors import Problem

NO_CONTEXT: Mode = "gen_only_no_context"


@dataclass(frozen=True)
class Surroundings:
    """What a load depends on besides its file: where relative dataset files lie, what multiplies iterations, and the
    accuracy tasks of a file that has none of its own."""

    models_root: Path | None = None
    iteration_factor: int = 1
    accuracy: tuple[AccuracyTask, ...] = ()


def drops_ctx(case_id: CaseId, benchmark: Benchmark) -> bool:
    """Whether the case runs without CTX servers.

    With a mode in the id: in gen_only_no_context, and in gen_only where ``benchmark.mode`` says so. In the older
    grammar: wherever ``benchmark.mode`` contains gen_only.
    """
    if case_id.legacy:
        return "gen_only" in benchmark.mode
    return case_id.mode == NO_CONTEXT or (case_id.mode == "gen_only" and NO_CONTEXT in benchmark.mode)


def declines(file: DisaggFile, case_id: CaseId) -> bool:
    """Whether the file says that it is not meant for the case: it has neither the servers of a kind nor their block.

    A file without ``cases:`` is offered in every mode that there is, and some are of servers of one kind alone. A count
    of 0 beside a block is a contradiction instead, unless ``benchmark.mode`` explains why there are no CTX servers.
    """
    workers, hardware = file.worker_config, file.hardware
    no_ctx = hardware.num_ctx_servers == 0 and (workers.ctx is None or NO_CONTEXT in file.benchmark.mode)
    no_gen = hardware.num_gen_servers == 0 and workers.gen is None
    if file.cases is not None or (no_ctx and no_gen):
        return False
    if case_id.mode == "ctx_only":
        return no_ctx and workers.ctx is None
    return no_gen or (no_ctx and not drops_ctx(case_id, file.benchmark))


def disagg_problems(file: DisaggFile, case_id: CaseId) -> list[Problem]:
    """What the case's mode needs that the file has not."""
    wanted: list[tuple[ServerKind, int]] = []
    if case_id.mode == "ctx_only":
        wanted = [("ctx", 1)]
    else:
        wanted = [("gen", file.hardware.num_gen_servers)]
        if not drops_ctx(case_id, file.benchmark):
            wanted.append(("ctx", file.hardware.num_ctx_servers))
    problems: list[Problem] = []
    for kind, count in wanted:
        if count < 1:
            expected = f"at least 1 for {case_id.mode}"
            problems.append(Problem(None, None, f"hardware.num_{kind}_servers", str(count), expected))
        if getattr(file.worker_config, kind) is None:
            expected = f"the engine's config of {kind.upper()} servers"
            problems.append(Problem(None, None, f"worker_config.{kind}", "nothing", expected))
    if file.metadata.model_name is None:
        problems.append(Problem(None, None, "metadata.model_name", "nothing", "the model that is served"))
    return problems


def disagg_servers(file: DisaggFile, data: Mapping[str, Any], case_id: CaseId) -> tuple[ServerSpec, ...]:
    """GEN, then CTX where the mode has any."""
    hardware = file.hardware
    specs = [_worker(file, data, case_id, "gen", hardware.num_gen_servers)]
    if not drops_ctx(case_id, file.benchmark):
        specs.append(_worker(file, data, case_id, "ctx", hardware.num_ctx_servers))
    return tuple(specs)


def disagg_loads(file: DisaggFile, case_id: CaseId, around: Surroundings) -> tuple[LoadSpec, ...]:
    """One load per concurrency; only the first in the gen_only modes."""
    benchmark, environment = file.benchmark, file.environment
    gen_only, ctx_only = case_id.mode in ("gen_only", NO_CONTEXT), case_id.mode == "ctx_only"
    iterations = 1 if gen_only else benchmark.multi_round * around.iteration_factor
    osl = 1 if ctx_only else benchmark.output_length
    env_text = join_env(environment.benchmark_env_var, environment.client_env_var)
    accuracy = disagg_accuracy(file, case_id, around)
    client = benchmark.benchmark_client or NATIVE
    return tuple(
        LoadSpec(
            name=load_name(concurrency, iterations, benchmark.input_length, osl),
            concurrency=concurrency,
            iterations=iterations,
            isl=benchmark.input_length,
            osl=osl,
            random_range_ratio=benchmark.benchmark_ratio,
            streaming=benchmark.streaming,
            use_chat_template=benchmark.use_chat_template,
            request_rate=benchmark.request_rate,
            dataset_file=None if ctx_only else dataset(benchmark.dataset_file, client, around.models_root),
            benchmark_client=client,
            use_nv_sa_benchmark=benchmark.use_nv_sa_benchmark,
            only_run_accuracy=benchmark.only_run_accuracy and bool(accuracy) and not gen_only,
            warmup=not gen_only and not _warms_up_itself(client, benchmark.use_nv_sa_benchmark),
            env=variables(env_text),
            env_text=env_text,
            accuracy=accuracy,
        )
        for concurrency in (benchmark.concurrency_list[:1] if gen_only else benchmark.concurrency_list)
    )


def ctx_only_server(
    file: DisaggFile, data: Mapping[str, Any], case_id: CaseId, loads: tuple[LoadSpec, ...]
) -> ServerSpec:
    """The CTX block as one aggregated server: without a transceiver, since there is nobody to hand a KV cache to."""
    spec = _worker(file, data, case_id, "ctx", 1)
    config = {key: value for key, value in spec.engine_config.items() if key != "cache_transceiver_config"}
    return ServerSpec(
        "server", f"ctx_only-{case_id.stem}", spec.model, 1, spec.world_size, config, spec.env, spec.env_text, loads
    )


def aggregated_servers(
    file: AggrFile, data: Mapping[str, Any], case_id: CaseId, around: Surroundings
) -> tuple[ServerSpec, ...]:
    """The selected servers in file order; all of them where the id selects none."""
    specs = []
    for index, (server, block) in enumerate(zip(file.server_configs, data["server_configs"], strict=True)):
        name = server_name(block, file.metadata.model_name or "")
        if case_id.servers and name not in case_id.servers:
            continue
        specs.append(
            ServerSpec(
                kind="server",
                name=name,
                model=server.model_name or file.metadata.model_name or "",
                count=1,
                world_size=server.world,
                engine_config=unshared(block),
                env=variables(server.server_env_var),
                env_text=server.server_env_var,
                clients=tuple(
                    _client(client, around, aggregated_accuracy(file, index, position))
                    for position, client in enumerate(server.client_configs)
                ),
            )
        )
    return tuple(specs)


def disagg_accuracy(file: DisaggFile, case_id: CaseId, around: Surroundings) -> tuple[AccuracyTask, ...]:
    """The tasks after the loads; none where GEN servers make up the context: what they answer means nothing."""
    if case_id.mode != "ctx_only" and drops_ctx(case_id, file.benchmark):
        return ()
    limits, _ = expectations((file.metadata.model_extra or {}).get("accuracy"))
    own = file.accuracy.planned("accuracy", limits) if file.accuracy else ()
    return own or (around.accuracy if case_id.runtime == "disagg" else ())


def aggregated_accuracy(file: AggrFile, server: int, client: int) -> tuple[AccuracyTask, ...]:
    """A client's own tasks, else those of the whole file."""
    own, key = file.server_configs[server].client_configs[client].accuracy_config, "accuracy"
    if own is not None:
        key = f"server_configs.{server}.client_configs.{client}.accuracy_config"
    block = own or file.accuracy
    limits, _ = expectations((file.metadata.model_extra or {}).get("accuracy"))
    return block.planned(key, limits) if block else ()


def accuracy_notes(file: DisaggFile | AggrFile, case_id: CaseId, around: Surroundings) -> list[str]:
    """What a person has to know of a case's accuracy tasks besides the tasks."""
    if isinstance(file, AggrFile):
        blocks = [file.accuracy, *(each.accuracy_config for one in file.server_configs for each in one.client_configs)]
        wanted = any(block and block.enable_accuracy_test for block in blocks)
    else:
        wanted = bool(around.accuracy) or bool(file.accuracy and file.accuracy.enable_accuracy_test)
    if not wanted:
        return []
    _, notes = expectations((file.metadata.model_extra or {}).get("accuracy"))
    if isinstance(file, DisaggFile) and case_id.runtime == "disagg":
        if drops_ctx(case_id, file.benchmark):
            return ["accuracy is not run: without CTX servers the GEN servers make up the context"]
        if file.benchmark.only_run_accuracy and case_id.mode == "gen_only":
            notes.append("only_run_accuracy: the load is run all the same, GEN servers wait for it in gen_only")
    return notes


def dataset(name: str | None, client: str, models_root: Path | None) -> Path | None:
    """The dataset file that a case names, None for random prompts (nothing named, or an unfilled placeholder).

    A file below the models root comes before one of that path itself. One that exists nowhere stays named: that the
    case cannot run with it is an error when it is about to run, not a reason to measure something else. ``agentx``
    takes a data set's name, no file.
    """
    if not name or is_placeholder(name):
        return None
    if client != "agentx" and models_root is not None and (models_root / name).exists():
        return models_root / name
    return Path(name)


def speculates(blocks: tuple[ServerBlock | None, ...] | list[AggrServer]) -> bool:
    """Whether any of the engine blocks turns speculative decoding on."""
    return any(block is not None and block.speculates for block in blocks)


def aggregated_problems(file: AggrFile) -> list[Problem]:
    """Aggregated servers whose model nobody names."""
    if file.metadata.model_name:
        return []
    expected = "a model name here or in metadata.model_name"
    return [
        Problem(None, None, f"server_configs.{index}.model_name", "nothing", expected)
        for index, server in enumerate(file.server_configs)
        if not server.model_name
    ]


def _client(client: ClientBlock, around: Surroundings, accuracy: tuple[AccuracyTask, ...]) -> LoadSpec:
    iterations = client.iterations * around.iteration_factor
    tool = client.benchmark_client or NATIVE
    warmup = True if client.warmup is None else client.warmup
    return LoadSpec(
        name=client.name or load_name(client.concurrency, iterations, client.isl, client.osl),
        concurrency=client.concurrency,
        iterations=iterations,
        isl=client.isl,
        osl=client.osl,
        random_range_ratio=client.random_range_ratio,
        streaming=client.streaming,
        use_chat_template=client.use_chat_template,
        trust_remote_code=client.trust_remote_code,
        backend=client.backend,
        request_rate=client.request_rate,
        dataset_file=dataset(client.dataset_file, tool, around.models_root),
        benchmark_client=tool,
        use_nv_sa_benchmark=client.use_nv_sa_benchmark,
        only_run_accuracy=client.only_run_accuracy and bool(accuracy),
        warmup=warmup and not _warms_up_itself(tool, client.use_nv_sa_benchmark),
        env=variables(client.client_env_var),
        env_text=client.client_env_var,
        accuracy=accuracy,
    )


def _worker(file: DisaggFile, data: Mapping[str, Any], case_id: CaseId, kind: ServerKind, count: int) -> ServerSpec:
    block: ServerBlock = getattr(file.worker_config, kind)
    own = file.environment.ctx_worker_env_var if kind == "ctx" else file.environment.gen_worker_env_var
    env_text = join_env(file.environment.worker_env_var, own)
    return ServerSpec(
        kind=kind,
        name=block.name or f"{case_id.mode}-{case_id.stem}",
        model=block.model_name or file.metadata.model_name or "",
        count=count,
        world_size=block.world,
        engine_config=unshared(data["worker_config"][kind]),
        env=variables(env_text),
        env_text=env_text,
    )


def _warms_up_itself(client: str, use_nv_sa_benchmark: bool) -> bool:
    return client == "agentx" or use_nv_sa_benchmark


def variables(text: str) -> dict[str, str]:
    """The variables of a validated environment string; none while it is a placeholder."""
    return {} if is_placeholder(text) else parse_env(text)
