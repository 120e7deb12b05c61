from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_disagg.config.resolve import load_case
from pytest_disagg.config.settings import RehearseLimits, Settings
from pytest_disagg.errors import UsageError

Write = Callable[..., Path]


def test_limits_are_parsed_over_their_defaults() -> None:
    assert RehearseLimits.parse("") == RehearseLimits(concurrency=8, requests=16, isl=512, osl=16, servers=8)
    assert RehearseLimits.parse(" concurrency=2, osl=4 ,").concurrency == 2
    assert RehearseLimits.parse("osl=4").isl == 512


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("osll=4", "found the name 'osll', expected one of .* \\(did you mean 'osl'\\?\\)"),
        ("osl=0", "found '0', expected a whole number of at least 1"),
        ("osl", "found '', expected a whole number"),
        ("osl=many", "found 'many'"),
    ],
)
def test_limits_that_are_none(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RehearseLimits.parse(text)


def test_a_clusters_case_is_cut_down_and_every_change_is_said(write: Write, disagg: str) -> None:
    text = (
        disagg.replace("'4 8'", "'4 8 2048 4096'")
        .replace("length: 128", "length: 8192")
        .replace("mode: e2e", "dataset_file: data.json\n  use_nv_sa_benchmark: true")
        .replace("num_ctx_servers: 2", "num_ctx_servers: 12")
        .replace("num_gen_servers: 1", "num_gen_servers: 2")
    )
    path = write("x.yaml", f"{text}accuracy: {{enable_accuracy_test: true, tasks: gsm8k}}\n")
    case = load_case("disagg-e2e-x", path=path, settings=Settings(engine="sim"), environ={})
    assert case.rehearsal
    assert case.engine == "sim"
    assert (case.num_gen, case.num_ctx) == (2, 6)
    assert [(c.name, c.concurrency, c.num_prompts) for c in case.clients] == [
        ("con4_iter3_isl512_osl16", 4, 12),
        ("con8_iter2_isl512_osl16", 8, 16),
    ]
    for client in case.clients:
        assert client.dataset_file is None
        assert not client.accuracy
        assert client.benchmark_client == "native"
        assert not client.use_nv_sa_benchmark
    assert set(case.notes) >= {
        "rehearsal: engine trtllm -> sim",
        "rehearsal: CTX servers 12 -> 6",
        "rehearsal: concurrency 2048 -> 8",
        "rehearsal: iterations 3 -> 2",
        "rehearsal: ISL 8192 -> 512",
        "rehearsal: OSL 64 -> 16",
        "rehearsal: dataset data.json -> random prompts",
        "rehearsal: use_nv_sa_benchmark True -> False",
        "rehearsal: accuracy on -> off",
        "rehearsal: load con4096_iter3_isl8192_osl64 left out, it has become equal to another",
    }
    # The document is the cluster's: only what is played is smaller.
    assert case.document["hardware"]["num_ctx_servers"] == 12


def test_one_server_of_each_kind_stays(write: Write, disagg: str) -> None:
    settings = Settings(engine="sim", rehearse_limits=RehearseLimits(servers=1, requests=3))
    case = load_case("disagg-e2e-x", path=write("x.yaml", disagg), settings=settings, environ={})
    assert (case.num_gen, case.num_ctx) == (1, 1)
    assert [client.num_prompts for client in case.clients] == [3]


def test_every_aggregated_server_is_rehearsed(write: Write, aggregated: str) -> None:
    text = aggregated.replace("concurrency: 2", "concurrency: 4000\n        benchmark_client: agentx")
    case = load_case("aggr-x", path=write("x.yaml", text), settings=Settings(engine="sim"), environ={})
    assert [[c.concurrency for c in server.clients] for server in case.servers] == [[4], [1, 8]]
    assert "rehearsal: client agentx -> native" in case.notes
    # A name that the file gives stays: the record is the cluster's case, rehearsed.
    assert [client.name for client in case.servers[1].clients] == ["first", "second"]


def test_ctx_only_is_rehearsed(write: Write, disagg: str) -> None:
    case = load_case("aggr-ctx_only-x", path=write("x.yaml", disagg), settings=Settings(engine="sim"), environ={})
    assert [(c.osl, c.num_prompts) for c in case.servers[0].clients] == [(1, 12), (1, 16)]


def test_the_limits_are_part_of_a_rehearsals_digest_only(write: Write, disagg: str) -> None:
    path = write("x.yaml", disagg)

    def digest(engine: str | None, osl: int) -> str:
        settings = Settings(engine=engine, rehearse_limits=RehearseLimits(osl=osl))
        return load_case("disagg-e2e-x", path=path, settings=settings, environ={}).digest

    assert digest("sim", 4) != digest("sim", 8)
    assert digest(None, 4) == digest(None, 8)
