from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_disagg.config.case import Case
from pytest_disagg.errors import ConfigError
from pytest_disagg.topology.layout import layouts
from pytest_disagg.topology.placement import place

MakeCase = Callable[..., Case]


def test_gen_is_placed_first_then_ctx_each_on_nodes_of_its_own(make_case: MakeCase) -> None:
    placement = place(make_case(gen=(2, 8), ctx=(2, 4)))

    assert {server.role: server.nodes for server in placement.servers} == {
        "GEN_0": (0, 1),
        "GEN_1": (2, 3),
        "CTX_0": (4,),
        "CTX_1": (5,),
    }
    assert (placement.total_nodes, placement.total_gpus) == (6, 24)
    assert (placement.nodes_of("gen"), placement.nodes_of("ctx")) == (4, 2)


@pytest.mark.parametrize(
    ("world_size", "gpus_per_node", "tasks"),
    [(1, 4, (1,)), (4, 4, (4,)), (6, 4, (4, 2)), (9, 4, (4, 4, 1)), (16, 8, (8, 8)), (3, 1, (1, 1, 1))],
)
def test_a_server_gets_exactly_its_world_size_of_tasks(
    make_case: MakeCase, world_size: int, gpus_per_node: int, tasks: tuple[int, ...]
) -> None:
    server = place(make_case(gen=(1, world_size), gpus_per_node=gpus_per_node)).servers[0]

    assert server.tasks_per_node == tasks
    assert [rank for share in server.shares for rank in share.ranks] == list(range(world_size))
    assert [share.gpus for share in server.shares] == [tuple(range(count)) for count in tasks]


def test_small_servers_take_a_node_each_unless_the_case_shares_nodes(make_case: MakeCase) -> None:
    assert place(make_case(gen=(2, 1), ctx=(1, 2))).total_nodes == 3

    shared = place(make_case(gen=(2, 1), ctx=(1, 2), share_nodes=True))

    assert shared.total_nodes == 1
    assert [(server.role, server.shares[0].gpus) for server in shared.servers] == [
        ("GEN_0", (0,)),
        ("GEN_1", (1,)),
        ("CTX_0", (2, 3)),
    ]
    assert (shared.nodes_of("gen"), shared.nodes_of("ctx")) == (1, 1)


def test_a_shared_node_is_filled_first_fit_and_no_small_server_is_split(make_case: MakeCase) -> None:
    placement = place(make_case(gen=(2, 3), ctx=(3, 1), share_nodes=True))

    assert [(server.role, server.nodes, server.shares[0].gpus) for server in placement.servers] == [
        ("GEN_0", (0,), (0, 1, 2)),
        ("GEN_1", (1,), (0, 1, 2)),
        ("CTX_0", (0,), (3,)),
        ("CTX_1", (1,), (3,)),
        ("CTX_2", (2,), (0,)),
    ]


def test_the_last_node_of_a_large_server_is_not_shared(make_case: MakeCase) -> None:
    placement = place(make_case(gen=(1, 6), ctx=(2, 1), share_nodes=True))

    assert [server.nodes for server in placement.servers] == [(0, 1), (2,), (2,)]


def test_servers_of_an_alone_case_follow_each_other_on_the_same_nodes(make_case: MakeCase) -> None:
    placement = place(make_case(alone=(4, 8, 1)))

    assert [(server.role, server.nodes) for server in placement.servers] == [
        ("SERVER_0", (0,)),
        ("SERVER_1", (0, 1)),
        ("SERVER_2", (0,)),
    ]
    assert (placement.total_nodes, placement.total_gpus) == (2, 8)


def test_fewer_gpus_than_a_node_has_is_still_one_node(make_case: MakeCase) -> None:
    assert not place(make_case(alone=(2,))).multi_node
    assert place(make_case(alone=(5,))).multi_node


def test_without_ctx_servers_only_gen_is_placed(make_case: MakeCase) -> None:
    (layout,) = layouts(case := make_case(ctx=None, mode="gen_only_no_context"), place(case))

    assert (layout["num_ctx_servers"], layout["ctx_nodes"], layout["total_nodes"]) == (0, 0, 1)
    assert layout["ctx"]["servers"] == 0
    assert layout["roles"] == ["GEN_0", "DISAGG_SERVER", "BENCHMARK"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gpus_per_node": 0}, "x.yaml: hardware.gpus_per_node: found 0, expected at least 1"),
        ({"gen": (1, 0)}, "worker_config.gen: found a world size of 0"),
        ({"ctx": (-1, 4)}, "hardware.num_ctx_servers: found -1, expected at least 0"),
        ({"gen": (0, 4)}, "hardware.num_gen_servers: found 0, expected at least 1"),
        ({"gen": (0, 4), "ctx": None}, "found no server to place for disagg-e2e-x"),
        ({"alone": (0,)}, "server_configs.0: found a world size of 0"),
    ],
)
def test_impossible_sizes_are_config_errors(make_case: MakeCase, change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        place(make_case(**change))
    assert message in str(error.value)


def test_a_problem_names_the_line_of_its_file(make_case: MakeCase, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("worker_config: {}\nhardware:\n  gpus_per_node: 0\n")

    with pytest.raises(ConfigError) as error:
        place(dataclasses.replace(make_case(gpus_per_node=0), path=path))
    assert str(error.value).startswith(f"{path}:3: hardware.gpus_per_node: found 0")


def test_all_problems_are_reported_at_once(make_case: MakeCase) -> None:
    with pytest.raises(ConfigError) as error:
        place(make_case(gpus_per_node=0, gen=(1, 0), ctx=(1, 0)))
    assert len(error.value.problems) == 3


def test_layout_counts_all_servers_of_a_kind_and_sizes_one(make_case: MakeCase) -> None:
    (layout,) = layouts(case := make_case(gen=(1, 6), ctx=(5, 4)), place(case))

    older_keys = ("total_nodes", "total_gpus", "gpus_per_node", "num_ctx_servers", "num_gen_servers")
    assert [layout[key] for key in older_keys] == [7, 28, 4, 5, 1]
    assert (layout["ctx_nodes"], layout["gen_nodes"]) == (5, 2)
    assert layout["gen"] == {
        "servers": 1,
        "gpus_per_server": 6,
        "nodes_per_server": 2,
        "gpus_per_node_per_server": 4,
        "tasks_per_server": 6,
        "tasks_per_node": [4, 2],
    }
    assert layout["ctx"]["servers"] == 5
    assert layout["nodes"][0]["roles"] == [
        {"role": "GEN_0", "ranks": [0, 1, 2, 3], "gpus": [0, 1, 2, 3]},
        {"role": "DISAGG_SERVER", "ranks": [0], "gpus": []},
        {"role": "BENCHMARK", "ranks": [0], "gpus": []},
    ]
    assert layout["nodes"][1]["roles"] == [{"role": "GEN_0", "ranks": [4, 5], "gpus": [0, 1]}]


def test_an_alone_case_has_one_layout_for_each_server_and_one_allocation(make_case: MakeCase) -> None:
    small, large = layouts(case := make_case(alone=(2, 8)), place(case))

    assert [small["total_nodes"], large["total_nodes"]] == [2, 2]
    assert (small["server"]["nodes_per_server"], large["server"]["nodes_per_server"]) == (1, 2)
    assert (small["num_ctx_servers"], small["num_gen_servers"], small["ctx_nodes"], small["gen_nodes"]) == (0, 0, 0, 0)
    assert [len(layout["nodes"]) for layout in (small, large)] == [1, 2]
    assert "ctx" not in small
    assert small["roles"] == ["SERVER_0"]
