"""Command lines, launcher and environment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_disagg.engines.protocol import ProbePolicy, Site
from tests.unit.engines.trtllm.conftest import AGGREGATED, DOCUMENT, ENGINE, RUN, LoadCase, coordinator, server

ADDRESS = ("--host", "n1", "--port", "0", "--report_addr")


def test_a_worker(load: LoadCase) -> None:
    launch = server(load(), "gen")
    config = "/run/secrets/GEN_0/extra-llm-api-config.gen.e2e-c.yml"
    address = "/run/config/GEN_0/address"
    assert launch.argv == ("trtllm-serve", "m", "--backend", "pytorch", "--config", config, *ADDRESS, address)
    assert list(launch.files) == [Path(config)]
    assert (launch.address_file, launch.address, launch.env) == (Path(address), "", {})


def test_an_aggregated_server(load: LoadCase) -> None:
    launch = server(load(AGGREGATED), "server")
    config = "/run/config/SERVER_0/extra-llm-api-config.aggr.one.yml"
    assert launch.argv[:6] == ("trtllm-serve", "m", "--backend", "pytorch", "--config", config)


def test_the_backend_of_the_block_and_numactl(load: LoadCase) -> None:
    workers = {**DOCUMENT["worker_config"], "gen": {"tensor_parallel_size": 8, "backend": "_autodeploy"}}
    case = load(slurm={"numa_bind": True}, worker_config=workers)
    assert server(case, "gen").argv[:6] == ("numactl", "-m 0,1", "trtllm-serve", "m", "--backend", "_autodeploy")
    assert server(case, "ctx").argv[:6] == ("numactl", "-m 0,1", "trtllm-serve", "m", "--backend", "pytorch")
    assert coordinator(case).argv[0] == "trtllm-serve"


def test_a_name_becomes_a_file_name(load: LoadCase) -> None:
    workers = {**DOCUMENT["worker_config"], "gen": {"tensor_parallel_size": 8, "name": "a b*"}}
    (path,) = server(load(worker_config=workers), "gen").files
    assert path == RUN / "secrets" / "GEN_0" / "extra-llm-api-config.gen.a_b_.yml"


@pytest.mark.parametrize(("slurm", "limit"), [({"timeout": 600}, "600"), ({"job_time": "02:00:00"}, "10800")])
def test_the_coordinator(load: LoadCase, slurm: dict[str, object], limit: str) -> None:
    launch = coordinator(load(slurm=slurm, environment={"server_env_var": "A=1"}))
    config, address = "/run/secrets/DISAGG_SERVER/server_config.0.yaml", "/run/config/DISAGG_SERVER/address"
    assert launch.argv == (
        *("trtllm-serve", "disaggregated", "-c", config, "-t", limit, "-r", limit, "--report_addr", address),
    )
    assert launch.env == {"A": "1"}


@pytest.mark.parametrize(("host", "address"), [("n1", "n1:77"), ("::1", "[::1]:77")])
def test_several_frontends_are_told_their_port(load: LoadCase, host: str, address: str) -> None:
    workers = {**DOCUMENT["worker_config"], "gen": {"tensor_parallel_size": 8, "num_serve_frontends": 2}}
    asked: list[bool] = []

    def port(*, shared: bool = False) -> int:
        asked.append(shared)
        return 77

    launch = server(load(worker_config=workers), "gen", Site(port=port), host)
    assert launch.argv[-4:] == ("--host", host, "--port", "77")
    assert (launch.address, launch.address_file) == (address, None)
    assert asked == [True]


def test_metrics_are_not_the_statistics_of_iterations() -> None:
    """Who reads those takes them away."""
    assert ENGINE.metrics_url("http://n1:1", {}) == "http://n1:1/prometheus/metrics"


def test_the_launcher_is_for_cases_of_several_nodes(load: LoadCase) -> None:
    several = load()
    assert {spec.kind: ENGINE.around_pytest(several, spec) for spec in several.servers} == {
        "gen": ("trtllm-llmapi-launch",),
        "ctx": ("trtllm-llmapi-launch",),
    }
    # Steps of a one-node job have no MPI: their servers start their ranks themselves.
    shared = load(
        hardware={"gpus_per_node": 4, "num_ctx_servers": 1, "num_gen_servers": 1, "share_nodes": True},
        worker_config={"gen": {"tensor_parallel_size": 2}, "ctx": {"tensor_parallel_size": 2}},
    )
    assert {ENGINE.around_pytest(shared, spec) for spec in shared.servers} == {()}
    for tp, around in ((4, ()), (8, ("trtllm-llmapi-launch",))):
        case = load(AGGREGATED, server_configs=[{**AGGREGATED["server_configs"][0], "tensor_parallel_size": tp}])
        assert ENGINE.around_pytest(case, case.servers[0]) == around


def test_what_ranks_below_the_launcher_need(load: LoadCase) -> None:
    case = load(cases=["disagg-gen_only"])
    caches = {"FLASHINFER_JIT_DIR": "/tmp/flashinfer_jit_cache_${SLURM_LOCALID}", "HF_HOME": "/tmp/hf_home"}
    gate = {"TRTLLM_DISABLE_KV_CACHE_TRANSFER_OVERLAP": "1", "TLLM_BENCHMARK_REQ_QUEUES_SIZE": "8"}
    found = {spec.kind: dict(ENGINE.environment(case, spec)) for spec in case.servers}
    assert found == {"gen": {**caches, **gate}, "ctx": caches}
    assert (server(case, "gen").env, server(case, "ctx").env) == (gate, {})
    aggregated = load(AGGREGATED)
    assert ENGINE.environment(aggregated, aggregated.servers[0]) == {}


def test_what_the_file_says_of_a_variable_counts(load: LoadCase) -> None:
    text = "TLLM_BENCHMARK_REQ_QUEUES_SIZE=3"
    case = load(cases=["disagg-gen_only"], environment={"gen_worker_env_var": text})
    assert server(case, "gen").env == {"TRTLLM_DISABLE_KV_CACHE_TRANSFER_OVERLAP": "1"}


def test_without_context_the_coordinator_knows_too(load: LoadCase) -> None:
    benchmark = {**DOCUMENT["benchmark"], "mode": "gen_only_no_context"}
    case = load(cases=["disagg-gen_only"], benchmark=benchmark)
    made_up = {"TRTLLM_DISAGG_BENCHMARK_GEN_ONLY": "1"}
    assert (server(case, "gen").env, coordinator(case).env) == (made_up, made_up)


def test_the_older_grammar_has_both(load: LoadCase) -> None:
    case = load(cases=["disagg-gen_only"], benchmark={**DOCUMENT["benchmark"], "mode": "gen_only_no_context"})
    case = replace(case, id=replace(case.id, legacy=True))
    assert list(server(case, "gen").env) == [
        "TRTLLM_DISAGG_BENCHMARK_GEN_ONLY",
        "TRTLLM_DISABLE_KV_CACHE_TRANSFER_OVERLAP",
        "TLLM_BENCHMARK_REQ_QUEUES_SIZE",
    ]


def test_gen_only_is_neither_probed_nor_repeated() -> None:
    assert ENGINE.probe_policy("gen_only") == ProbePolicy(probe=False, warmup=False, repeat=False)
    assert ENGINE.probe_policy("e2e") == ProbePolicy(probe=True, warmup=True, repeat=True)


def test_it_says_what_is_missing(load: LoadCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    case = load()
    assert (ENGINE.unavailable(case) or "").startswith("trtllm-serve is not on PATH")
    program = tmp_path / "trtllm-serve"
    program.touch(mode=0o755)
    assert ENGINE.unavailable(case) is None


def test_which_runs_have_a_secret(load: LoadCase) -> None:
    assert ENGINE.secrets(load()) == ("internal_request_auth_key",)
    assert ENGINE.secrets(load(internal_request_auth_key="of-the-file")) == ()
    assert ENGINE.secrets(load(AGGREGATED)) == ()
