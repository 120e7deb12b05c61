from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_disagg.config import yaml
from pytest_disagg.config.case import Case
from pytest_disagg.config.resolve import load_case, load_cases, offered_cases
from pytest_disagg.config.settings import Settings
from pytest_disagg.errors import ConfigError, UsageError

Write = Callable[..., Path]
Load = Callable[..., Case]


@pytest.fixture
def load(write: Write) -> Load:
    """Resolve ``case_id`` (with ``x`` as its stem) against a file of the given text."""

    def load_text(case_id: str, text: str, settings: Settings | None = None, **environ: str) -> Case:
        return load_case(case_id, path=write("x.yaml", text), settings=settings, environ=environ)

    return load_text


def test_e2e(load: Load, disagg: str) -> None:
    case = load("disagg-e2e-x", disagg)
    assert case.roles == ("GEN_0", "CTX_0", "CTX_1", "DISAGG_SERVER", "BENCHMARK")
    assert [(s.kind, s.name, s.count, s.world_size) for s in case.servers] == [
        ("gen", "e2e-x", 1, 8),
        ("ctx", "e2e-x", 2, 4),
    ]
    assert [(c.name, c.concurrency, c.num_prompts, c.isl, c.osl, c.warmup) for c in case.clients] == [
        ("con4_iter3_isl128_osl64", 4, 12, 128, 64, True),
        ("con8_iter3_isl128_osl64", 8, 24, 128, 64, True),
    ]
    assert (case.engine, case.model, case.gpus_per_node, case.rehearsal) == ("trtllm", "some_model", 4, False)
    assert case.clients[0].trust_remote_code
    assert case.clients[0].benchmark_client == "native"


@pytest.mark.parametrize(("mode", "ctx"), [("gen_only", 2), ("gen_only_no_context", 0)])
def test_gen_only_has_one_load_of_one_iteration_without_warm_up(load: Load, disagg: str, mode: str, ctx: int) -> None:
    case = load(f"disagg-{mode}-x", disagg)
    assert case.num_ctx == ctx
    assert [(c.concurrency, c.iterations, c.warmup) for c in case.clients] == [(4, 1, False)]
    assert case.servers[0].name == f"{mode}-x"


@pytest.mark.parametrize(
    ("case_id", "file_mode", "mode", "ctx"),
    [
        ("disagg-e2e-x", "gen_only", "e2e", 2),
        ("disagg-gen_only-x", "gen_only", "gen_only", 2),
        ("disagg-gen_only-x", "gen_only_no_context", "gen_only", 0),
        ("disagg-e2e-x", "gen_only_no_context", "e2e", 2),
        ("disagg_upload-x", "e2e", "e2e", 2),
        ("disagg_upload-x", "gen_only", "gen_only", 0),
        ("disagg_upload-x", "gen_only_no_context", "gen_only", 0),
    ],
)
def test_when_ctx_servers_are_dropped(
    load: Load, disagg: str, case_id: str, file_mode: str, mode: str, ctx: int
) -> None:
    case = load(case_id, disagg.replace("mode: e2e", f"mode: {file_mode}"))
    assert (case.id.mode, case.num_ctx, case.id.legacy) == (mode, ctx, case_id == "disagg_upload-x")


def test_ctx_only_is_one_server_alone(load: Load, disagg: str) -> None:
    text = disagg.replace("  mode: e2e", "  mode: e2e\n  dataset_file: some.json")
    case = load("aggr-ctx_only-x", text)
    (server,) = case.servers
    assert (server.kind, server.name, server.count, server.world_size) == ("server", "ctx_only-x", 1, 4)
    assert dict(server.engine_config) == {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}
    assert [(c.concurrency, c.osl, c.dataset_file, c.warmup) for c in server.clients] == [
        (4, 1, None, True),
        (8, 1, None, True),
    ]
    assert case.clients == ()
    assert case.roles == ()
    assert load("disagg-e2e-x", text).clients[0].dataset_file == Path("some.json")


def test_a_ctx_only_case_needs_no_gen_servers(load: Load, disagg: str) -> None:
    text = disagg[: disagg.index("  gen:")] + disagg[disagg.index("  ctx:") :]
    text = text.replace("num_gen_servers: 1", "num_gen_servers: 0")
    assert load("aggr-ctx_only-x", text).servers[0].world_size == 4
    with pytest.raises(ConfigError) as caught:
        load("disagg-e2e-x", text)
    assert [(p.key, p.line, p.found) for p in caught.value.problems] == [
        ("hardware.num_gen_servers", 12, "0"),
        ("worker_config.gen", 13, "nothing"),
    ]


def test_a_mode_without_ctx_needs_none(load: Load, disagg: str) -> None:
    text = disagg[: disagg.index("  ctx:")].replace("num_ctx_servers: 2", "num_ctx_servers: 0")
    assert load("disagg-gen_only_no_context-x", text).num_gen == 1
    with pytest.raises(ConfigError, match="found 0, expected at least 1 for gen_only"):
        load("disagg-gen_only-x", text)


def test_aggregated_servers_in_file_order(load: Load, aggregated: str) -> None:
    case = load("aggr-x", aggregated)
    assert [(s.name, s.world_size, [c.name for c in s.clients]) for s in case.servers] == [
        ("small", 1, ["con4_iter2_isl16_osl8"]),
        ("large", 4, ["first", "second"]),
    ]
    assert case.servers[0].clients[0].warmup
    assert [s.name for s in load("aggr-x-large,small", aggregated).servers] == ["small", "large"]
    assert [s.name for s in load("aggr-x-large", aggregated).servers] == ["large"]


def test_world_size_lies_above_the_product(load: Load, disagg: str) -> None:
    case = load("disagg-e2e-x", disagg.replace("tensor_parallel_size: 8", "tensor_parallel_size: 8\n    world_size: 6"))
    assert case.servers[0].world_size == 6


def test_an_engines_block_passes_verbatim_and_is_nobody_elses(load: Load, disagg: str) -> None:
    text = disagg.replace("cache_transceiver_config: {backend: NIXL}", "odd: &o {a: [1]}\n    also: *o", 1)
    case = load("disagg-e2e-x", text)
    config = case.servers[0].engine_config
    assert config == {"tensor_parallel_size": 8, "odd": {"a": [1]}, "also": {"a": [1]}}
    before = copy.deepcopy(case.document)
    config["odd"]["a"].append(2)
    assert config["also"] == {"a": [1]}
    assert case.document == before


def test_an_aggregated_servers_block_passes_verbatim_and_is_nobody_elses(load: Load, aggregated: str) -> None:
    case = load("aggr-x-small", aggregated.replace("name: small", "name: small\n    odd: {a: [1]}"))
    config = case.servers[0].engine_config
    assert config == case.document["server_configs"][0]
    config["odd"]["a"].append(2)
    assert case.document["server_configs"][0]["odd"] == {"a": [1]}


def test_environments_are_joined_and_keep_quoted_values(load: Load, disagg: str) -> None:
    text = f"""{disagg}environment:
  worker_env_var: A=1 "W=ignore::X:y z"
  ctx_worker_env_var: C=1 A=2
  gen_worker_env_var: G=1
  server_env_var: S='a b'
  benchmark_env_var: B=1
  client_env_var: B=2
"""
    case = load("disagg-e2e-x", text)
    gen, ctx = case.servers
    assert gen.env == {"A": "1", "W": "ignore::X:y z", "G": "1"}
    assert ctx.env == {"A": "2", "W": "ignore::X:y z", "C": "1"}
    assert ctx.env_text == 'A=1 "W=ignore::X:y z" C=1 A=2'
    assert case.coordinator_env == {"S": "a b"}
    assert case.clients[0].env == {"B": "2"}
    assert load("aggr-ctx_only-x", text).servers[0].env == ctx.env


def test_a_name_in_a_worker_block_wins(load: Load, disagg: str) -> None:
    case = load("disagg-e2e-x", disagg.replace("  gen:\n", "  gen:\n    name: mine\n"))
    assert [server.name for server in case.servers] == ["mine", "e2e-x"]


def test_speculative_decoding(load: Load, disagg: str) -> None:
    assert not load("disagg-e2e-x", disagg.replace("  gen:\n", "  gen:\n    speculative_config: null\n")).spec_decoding
    assert load(
        "disagg-e2e-x", disagg.replace("  gen:\n", "  gen:\n    speculative_config: {decoding_type: MTP}\n")
    ).spec_decoding


@pytest.mark.parametrize(
    ("slurm", "total_s", "job_time_s"),
    [
        ("{}", 10800, None),
        ("{timeout: 60}", 60, None),
        ("{job_time: '01:00:00'}", 3540, 3600),
        ("{job_time: 04:00:00}", 10800, 14400),
        ("{job_time: 2:00:00}", 7140, 7200),
        ("{job_time: 1}", 30, 60),
        ("{job_time: 01:00:00, timeout: 7200}", 7200, 3600),
        ("{job_time: UNLIMITED}", 10800, None),
    ],
)
def test_the_whole_runs_limit(load: Load, disagg: str, slurm: str, total_s: float, job_time_s: float | None) -> None:
    case = load("disagg-e2e-x", f"{disagg}slurm: {slurm}\n")
    assert (case.total_s, case.job_time_s) == (total_s, job_time_s)


def test_datasets(load: Load, disagg: str, tmp_path: Path) -> None:
    def dataset(line: str, **options: Path) -> Path | None:
        text = disagg.replace("  mode: e2e", f"  mode: e2e\n  {line}")
        return load("disagg-e2e-x", text, Settings(**options)).clients[0].dataset_file  # type: ignore[arg-type]

    (tmp_path / "models").mkdir()
    (tmp_path / "models/here.json").touch()
    (tmp_path / "own.json").touch()
    models = tmp_path / "models"
    assert dataset("streaming: true") is None
    assert dataset("dataset_file: ''") is None
    assert dataset("dataset_file: <dataset_file>") is None
    assert dataset("dataset_file: here.json", models_root=models) == models / "here.json"
    assert dataset(f"dataset_file: {tmp_path}/own.json", models_root=models) == tmp_path / "own.json"
    # A named file that is nowhere stays named: measuring random prompts instead would be another case.
    assert dataset("dataset_file: gone.json", models_root=models) == Path("gone.json")
    assert dataset("dataset_file: here.json\n  benchmark_client: agentx", models_root=models) == Path("here.json")


def test_the_models_root_comes_from_the_environment(load: Load, disagg: str, tmp_path: Path) -> None:
    (tmp_path / "here.json").touch()
    text = disagg.replace("  mode: e2e", "  mode: e2e\n  dataset_file: here.json")
    assert load("disagg-e2e-x", text, LLM_MODELS_ROOT=str(tmp_path)).clients[0].dataset_file == tmp_path / "here.json"


def test_iterations_are_multiplied_on_demand(load: Load, disagg: str, aggregated: str) -> None:
    assert load("disagg-e2e-x", disagg, BOLT_ITER_MULT="4").clients[0].name == "con4_iter12_isl128_osl64"
    assert load("aggr-x-small", aggregated, BOLT_ITER_MULT="4").servers[0].clients[0].iterations == 8
    assert load("disagg-gen_only-x", disagg, BOLT_ITER_MULT="4").clients[0].iterations == 1
    for wrong in ("0", "-1", "two", "1.5"):
        with pytest.raises(UsageError, match=f"BOLT_ITER_MULT: found '{wrong}'"):
            load("disagg-e2e-x", disagg, BOLT_ITER_MULT=wrong)


def test_other_peoples_clients_warm_up_themselves(load: Load, disagg: str, aggregated: str) -> None:
    for line in ("benchmark_client: agentx", "use_nv_sa_benchmark: true"):
        case = load("disagg-e2e-x", disagg.replace("mode: e2e", line))
        assert not case.clients[0].warmup
    off = aggregated.replace("name: first", "name: first\n        warmup: false")
    assert [c.warmup for c in load("aggr-x-large", off).servers[0].clients] == [False, True]


def test_a_load_in_detail(load: Load, disagg: str) -> None:
    lines = "\n  ".join(["request_rate: 2.5", "benchmark_ratio: 1", "streaming: false", "use_chat_template: true"])
    (client, _) = load("disagg-e2e-x", disagg.replace("mode: e2e", lines)).clients
    assert (client.request_rate, client.random_range_ratio, client.streaming, client.use_chat_template) == (
        2.5,
        1.0,
        False,
        True,
    )
    assert isinstance(client.random_range_ratio, float)
    assert load("disagg-e2e-x", disagg.replace("mode: e2e", "request_rate: inf")).clients[0].request_rate is None


def test_our_own_blocks_reach_the_case(load: Load, disagg: str) -> None:
    text = f"{disagg}engine: sim\ntimeouts: {{stall_s: 7}}\nslo: {{ttft_ms: 100}}\nsim: {{seed: 3}}\ngate:\n"
    case = load("disagg-e2e-x", text)
    assert (case.engine, case.timeouts.stall_s, case.sim.seed, case.gate.min_success_ratio) == ("sim", 7, 3, 1.0)
    assert case.timeouts.model_fields_set == {"stall_s"}
    assert case.slo is not None
    assert case.slo.ttft_ms == 100


def test_hardware_metadata_and_modifier(load: Load, disagg: str) -> None:
    text = disagg.replace("gpus_per_node: 4", "gpus_per_node: 4\n  share_nodes: true").replace(
        "some_model", "some_model\n  supported_gpus: [GB200]\n  precision: fp4"
    )
    case = load("disagg-e2e-time_breakdown-x", f"{text}slurm: {{numa_bind: true}}\n")
    assert (case.share_nodes, case.supported_gpus, case.precision, case.numa_bind) == (True, ("GB200",), "fp4", True)
    assert case.id.modifier == "time_breakdown"


def test_a_model_that_nobody_names(load: Load, disagg: str, aggregated: str) -> None:
    with pytest.raises(ConfigError, match=r"x\.yaml:1: metadata.model_name: found nothing, expected the model"):
        load("disagg-e2e-x", disagg.replace("model_name: some_model", "precision: fp8"))
    with pytest.raises(ConfigError, match=r"x\.yaml:6: server_configs.0.model_name: found nothing"):
        load("aggr-x", aggregated.replace("model_name: some_model", "precision: fp8"))
    own = aggregated.replace("name: small", "name: small\n    model_name: other")
    assert [server.model for server in load("aggr-x", own).servers] == ["other", "some_model"]


def test_the_engine_of_the_command_line_lies_above_the_files(load: Load, disagg: str) -> None:
    assert load("disagg-e2e-x", f"engine: sim\n{disagg}", Settings(engine="vllm")).engine == "vllm"
    assert not load("disagg-e2e-x", f"engine: sim\n{disagg}", Settings(engine="sim")).rehearsal
    assert load("disagg-e2e-x", disagg, Settings(engine="sim")).rehearsal


def test_a_digest_proves_that_two_roles_have_the_same_case(load: Load, disagg: str) -> None:
    base = load("disagg-e2e-x", disagg).digest
    assert load("disagg-e2e-x", disagg).digest == base
    assert load("disagg-e2e-x", f"# a comment\n{disagg}").digest == base
    others = [
        load("disagg_upload-e2e-x", disagg),
        load("disagg-e2e-x", disagg.replace("TP", "tp").replace("some_model", "other")),
        load("disagg-e2e-x", disagg, Settings(engine="sim")),
        load("disagg-e2e-x", disagg, Settings(sets=("timeouts.stall_s=5",))),
        load("disagg-e2e-x", disagg, BOLT_ITER_MULT="2"),
    ]
    assert len({base, *(case.digest for case in others)}) == 6


def test_overrides_reach_the_case(load: Load, disagg: str, aggregated: str) -> None:
    case = load("disagg-e2e-x", disagg, Settings(sets=("benchmark.concurrency_list=1,2", "timeouts.stall_s=5")))
    assert [client.concurrency for client in case.clients] == [1, 2]
    assert case.timeouts.stall_s == 5
    assert case.document["benchmark"]["concurrency_list"] == "1,2"
    case = load("aggr-x", aggregated, Settings(sets=("server_configs.0.client_configs.0.concurrency=9",)))
    assert case.servers[0].clients[0].concurrency == 9


def test_targets(write: Write, disagg: str, aggregated: str, tmp_path: Path) -> None:
    def targets(target: str) -> list[str]:
        return [case.id.text for case in load_cases(target, dirs=[tmp_path], environ={})]

    path = write("x.yaml", disagg)
    write("y.yaml", aggregated)
    write("z.yaml", f"cases: [disagg-gen_only, aggr-ctx_only]\n{disagg}")
    assert targets("x") == targets(str(path)) == ["disagg-e2e-x"]
    assert targets("disagg-gen_only-x") == ["disagg-gen_only-x"]
    assert targets("disagg_upload-x") == ["disagg_upload-x"]
    assert targets("y") == ["aggr-y-small", "aggr-y-large"]
    assert targets("z") == ["disagg-gen_only-z", "aggr-ctx_only-z"]


def test_a_target_of_a_checkout_is_found_without_a_config_directory(write: Write, disagg: str, tmp_path: Path) -> None:
    write("tests/scripts/perf-sanity/disaggregated/x.yaml", disagg)
    (case,) = load_cases("x", settings=Settings(llm_src=tmp_path), environ={})
    assert case.id.text == "disagg-e2e-x"
    write("agg/y.yaml", disagg)
    assert load_case("disagg-e2e-y", environ={"DISAGG_CONFIG_FOLDER": str(tmp_path / "agg")}).path.name == "y.yaml"


def test_a_bare_name_is_no_test_id(write: Write, disagg: str, tmp_path: Path) -> None:
    write("x.yaml", disagg)
    with pytest.raises(ConfigError, match="found the config name 'x', expected a test id"):
        load_case("x", dirs=[tmp_path], environ={})


def test_a_broken_case_fails_with_what_is_wrong_with_its_file(write: Write, disagg: str) -> None:
    path = write("x.yaml", "worker_config: [\n")
    with pytest.raises(ConfigError, match=r"x\.yaml:1: found while parsing"):
        load_case("broken-x", path=path, environ={})
    path = write("x.yaml", disagg)
    with pytest.raises(ConfigError, match="expected one that the file offers"):
        load_case("broken-x", path=path, environ={})


def test_offered_cases_report_each_problem_once(write: Write, disagg: str) -> None:
    assert len(offered_cases(write("x.yaml", disagg), environ={})) == 8
    with pytest.raises(ConfigError) as caught:
        offered_cases(write("x.yaml", disagg.replace("num_gen_servers: 1", "num_gen_servers: 0")), environ={})
    assert {problem.key for problem in caught.value.problems} == {"hardware.num_gen_servers"}
    assert len(caught.value.problems) == len(set(caught.value.problems))


GEN_ALONE = """\
metadata: {model_name: m}
benchmark: {mode: gen_only_no_context}
hardware: {gpus_per_node: 4, num_ctx_servers: 0, num_gen_servers: 2}
worker_config:
  gen: {tensor_parallel_size: 2}
"""


@pytest.mark.parametrize("ctx", ["", "  ctx: {tensor_parallel_size: 2}\n"])
def test_a_file_of_gen_servers_alone_is_good_and_shown_in_its_mode(write: Write, ctx: str) -> None:
    path = write("x.yaml", GEN_ALONE + ctx)
    modes = {case.id.mode for case in offered_cases(path, environ={})}
    assert modes == {"gen_only", "gen_only_no_context", *(["ctx_only"] if ctx else [])}
    (case,) = load_cases(str(path), environ={})
    assert (case.id.text, case.num_ctx, case.num_gen) == ("disagg-gen_only_no_context-x", 0, 2)
    with pytest.raises(ConfigError, match=r"num_ctx_servers: found 0, expected at least 1 for e2e"):
        load_case("disagg-e2e-x", path=path, environ={})


def test_a_file_that_names_its_mode_is_shown_in_it_though_it_has_ctx_servers(write: Write, disagg: str) -> None:
    path = write("x.yaml", disagg)
    (case,) = load_cases(str(path), settings=Settings(sets=("benchmark.mode=gen_only_no_context",)), environ={})
    assert (case.id.mode, case.num_ctx) == ("gen_only_no_context", 0)


def test_a_file_of_a_ctx_server_alone_is_good(write: Write) -> None:
    text = GEN_ALONE.replace("num_ctx_servers: 0, num_gen_servers: 2", "num_ctx_servers: 1, num_gen_servers: 0")
    path = write("x.yaml", text.replace("benchmark: {mode: gen_only_no_context}\n", "").replace("  gen:", "  ctx:"))
    assert {case.id.mode for case in offered_cases(path, environ={})} == {"ctx_only"}
    assert [case.id.text for case in load_cases(str(path), environ={})] == ["aggr-ctx_only-x"]


def test_a_file_without_any_server_is_none_of_these(write: Write) -> None:
    text = GEN_ALONE.replace("num_gen_servers: 2", "num_gen_servers: 0").replace("  gen: {tensor_parallel_size: 2}", "")
    with pytest.raises(ConfigError, match="num_gen_servers: found 0, expected at least 1"):
        offered_cases(write("x.yaml", text), environ={})


def test_an_expert_parallel_size_is_the_engines_to_read(load: Load, disagg: str) -> None:
    case = load("disagg-e2e-x", disagg, Settings(sets=("worker_config.gen.moe_expert_parallel_size=-1",)))
    assert case.servers[0].engine_config["moe_expert_parallel_size"] == -1


def test_loading_changes_nothing_of_what_was_read(write: Write, disagg: str, monkeypatch: pytest.MonkeyPatch) -> None:
    document = yaml.load(write("x.yaml", disagg))
    before = copy.deepcopy(document.data)
    monkeypatch.setattr(yaml, "load", lambda path: document)
    case = load_case("disagg-e2e-x", path=document.path, settings=Settings(sets=("benchmark.mode=x",)), environ={})
    case.servers[0].engine_config["tensor_parallel_size"] = 1  # type: ignore[index]
    assert document.data == before
