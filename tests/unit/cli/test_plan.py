from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.cli.main import main
from pytest_disagg.engines import registry
from pytest_disagg.engines.base import BaseEngine
from pytest_disagg.engines.protocol import CoordinatorRequest, Launch, ServerRequest

CONFIGS = Path(__file__).resolve().parents[3] / "../shared/spec/trtllm-configs"

OWN = Path(__file__).resolve().parents[3] / "test_configs"

DISAGG = """
metadata:
  model_name: some_model
slurm:
  partition: <partition>
  timeout: 3600
benchmark:
  concurrency_list: '4 8'
  input_length: 128
  output_length: 64
hardware:
  gpus_per_node: 4
  num_ctx_servers: 2
  num_gen_servers: 1
worker_config:
  gen:
    tensor_parallel_size: 6
  ctx:
    tensor_parallel_size: 2
"""

AGGREGATED = """
metadata:
  model_name: some_model
hardware:
  gpus_per_node: 4
server_configs:
  - name: small
    tensor_parallel_size: 2
    client_configs: [{concurrency: 1, iterations: 1, isl: 8, osl: 8}]
  - name: large
    tensor_parallel_size: 4
    pipeline_parallel_size: 2
    client_configs: [{concurrency: 1, iterations: 1, isl: 8, osl: 8}]
"""


@pytest.fixture(autouse=True)
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files in ./test_configs of an otherwise empty directory; no variable of the caller's counts."""
    for name in (
        "DISAGG_CONFIG_DIR",
        "DISAGG_LLM_SRC",
        "DISAGG_ENGINE",
        "AGG_CONFIG_FOLDER",
        "DISAGG_CONFIG_FOLDER",
        "DISAGG_REHEARSE_LIMIT",
        "BOLT_ITER_MULT",
        "PARTITION",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "test_configs"
    folder.mkdir()
    (folder / "two-ctx.yaml").write_text(DISAGG)
    (folder / "two_servers.yaml").write_text(AGGREGATED)
    return folder


@pytest.fixture
def plan(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run ``disagg plan --json`` and return what it printed."""

    def run(*arguments: str) -> Any:
        code = main(["plan", "--json", *arguments])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return json.loads(captured.out)

    return run


def shared_configs() -> list[Path]:
    return sorted(CONFIGS.glob("*/*.yaml"))


@pytest.mark.skipif(not CONFIGS.is_dir(), reason="../shared is not here")
@pytest.mark.parametrize("path", shared_configs(), ids=lambda path: path.stem)
def test_counts_equal_the_independent_ones(plan: Any, path: Path) -> None:
    expected = json.loads((CONFIGS / "expected_layout.json").read_text())[path.stem]
    found = plan(str(path))

    if path.parent.name == "aggregated":
        assert [entry["server"]["name"] for entry in found] == list(expected["servers"])
        for entry, server in zip(found, expected["servers"].values(), strict=True):
            sizes = entry["server"]
            assert sizes["gpus_per_server"] == server["gpus_per_server"]
            assert sizes["nodes_per_server"] == entry["total_nodes"] == server["nodes"]
            assert sizes["gpus_per_node_per_server"] == server["tasks_per_node"]
            assert sizes["tasks_per_server"] == server["world_size"]
            assert entry["total_gpus"] == server["total_gpus"]
            assert entry["gpus_per_node"] == expected["gpus_per_node"]
        return

    for key in ("gpus_per_node", "total_nodes", "total_gpus"):
        assert found[key] == expected[key]
    for kind in ("ctx", "gen"):
        sizes = found[kind]
        assert found[f"num_{kind}_servers"] == sizes["servers"] == expected[f"num_{kind}"]
        assert sizes["gpus_per_server"] == expected[f"gpus_per_{kind}"]
        assert sizes["nodes_per_server"] == expected[f"nodes_per_{kind}"]
        assert sizes["gpus_per_node_per_server"] == expected[f"gpus_per_node_per_{kind}"]
        assert sizes["tasks_per_server"] == expected[f"{kind}_tasks"]
        assert found[f"{kind}_nodes"] == expected[f"num_{kind}"] * expected[f"nodes_per_{kind}"]

    ctx_only = plan("--config-dir", str(path.parent), f"aggr-ctx_only-{path.stem}")
    assert ctx_only["total_nodes"] == expected["ctx_only_nodes"]
    assert ctx_only["server"]["tasks_per_server"] == expected["ctx_only_tasks"]


@pytest.mark.parametrize("path", sorted([*OWN.glob("*.yaml"), *OWN.glob("examples/*.yaml")]))
def test_every_case_file_of_the_project_has_a_plan_that_adds_up(plan: Any, path: Path) -> None:
    found = plan(str(path))

    for entry in found if isinstance(found, list) else [found]:
        ranks = [role["ranks"] for node in entry["nodes"] for role in node["roles"] if role["gpus"]]
        kinds = [entry[kind] for kind in ("ctx", "gen", "server") if kind in entry]
        assert sum(map(len, ranks)) == sum(sizes["servers"] * sizes["tasks_per_server"] for sizes in kinds)
        assert sum(sizes["servers"] * sizes["gpus_per_server"] for sizes in kinds) <= entry["total_gpus"]
        assert (
            sum(stage["limit_s"] * stage["times"] for stage in entry["stages"]) <= entry["deadlines"]["total_s"] + 1e-6
        )


def test_a_disaggregated_file_is_one_object(plan: Any, configs: Path) -> None:
    found = plan(str(configs / "two-ctx.yaml"))

    assert (found["case"], found["mode"], found["engine"]) == ("disagg-e2e-two-ctx", "e2e", "trtllm")
    assert (found["total_nodes"], found["total_gpus"], found["ctx_nodes"], found["gen_nodes"]) == (4, 16, 2, 2)
    assert found["gen"]["tasks_per_server"] == 6
    assert found["gen"]["tasks_per_node"] == [4, 2]
    assert found["roles"] == ["GEN_0", "CTX_0", "CTX_1", "DISAGG_SERVER", "BENCHMARK"]
    assert found["deadlines"]["total_s"] == 3600
    assert {stage["stage"]: stage["times"] for stage in found["stages"]}["measure"] == 2
    assert found["placeholders"] == {"slurm.partition": "<partition>"}


def test_a_file_of_several_servers_is_a_list(plan: Any) -> None:
    small, large = plan("two_servers")

    assert (small["server"]["name"], small["total_nodes"], small["server"]["tasks_per_server"]) == ("small", 1, 2)
    assert (large["server"]["name"], large["total_nodes"], large["server"]["tasks_per_server"]) == ("large", 2, 8)
    for entry in (small, large):
        assert (entry["num_ctx_servers"], entry["num_gen_servers"], entry["ctx_nodes"], entry["gen_nodes"]) == (0,) * 4


def test_an_id_of_all_servers_needs_the_nodes_of_the_largest(plan: Any) -> None:
    assert [entry["total_nodes"] for entry in plan("aggr-two_servers")] == [2, 2]
    assert plan("aggr-two_servers-small")["total_nodes"] == 1


def test_several_targets_are_a_list(plan: Any) -> None:
    found = plan("disagg-e2e-two-ctx", "aggr-ctx_only-two-ctx")

    assert [entry["mode"] for entry in found] == ["e2e", "ctx_only"]
    assert found[1]["server"]["gpus_per_server"] == 2


def test_no_context_has_no_ctx_servers(plan: Any) -> None:
    found = plan("disagg-gen_only_no_context-two-ctx")

    assert (found["num_ctx_servers"], found["ctx_nodes"], found["ctx"]["servers"], found["total_nodes"]) == (0, 0, 0, 2)


def test_a_value_can_be_set_on_the_command_line(plan: Any) -> None:
    assert plan("two-ctx", "--set", "hardware.num_ctx_servers=5")["ctx_nodes"] == 5
    shared = plan("two-ctx", "--set", "hardware.share_nodes=true")
    assert (shared["total_nodes"], shared["ctx_nodes"]) == (3, 1)


def test_options_have_environment_twins(plan: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "elsewhere.yaml").write_text(DISAGG)
    monkeypatch.setenv("DISAGG_CONFIG_DIR", f"{tmp_path / 'a'}:{tmp_path / 'b'}")
    monkeypatch.setenv("DISAGG_ENGINE", "sim")

    assert plan("elsewhere")["engine"] == "sim"
    assert plan("elsewhere", "--engine", "trtllm")["engine"] == "trtllm"
    assert plan("--config-dir", "test_configs", "two-ctx")["case"] == "disagg-e2e-two-ctx"


def test_a_name_is_found_in_a_tensorrt_llm_checkout(plan: Any, tmp_path: Path) -> None:
    folder = tmp_path / "src/tests/scripts/perf-sanity/disaggregated"
    folder.mkdir(parents=True)
    (folder / "theirs.yaml").write_text(DISAGG)

    assert plan("--llm-src", str(tmp_path / "src"), "disagg-e2e-theirs")["total_nodes"] == 4


def test_a_rehearsal_says_what_it_replaced(plan: Any) -> None:
    found = plan("two-ctx", "--engine", "sim", "--rehearse-limit", "osl=3")

    assert "rehearsal: OSL 64 -> 3" in found["notes"]


def test_a_config_dir_that_is_none_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--config-dir", "nowhere", "x"]) == 4
    assert "--config-dir: found nowhere, expected a directory" in capsys.readouterr().err


def test_problems_of_all_targets_are_printed_and_nothing_else(
    capsys: pytest.CaptureFixture[str], configs: Path
) -> None:
    (configs / "long.yaml").write_text(DISAGG + "timeouts:\n  grace_s: 900\n")

    assert main(["plan", "two-ctx", "long", "no-such-case"]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    line = len(DISAGG.splitlines()) + 2
    assert f"long.yaml:{line}: timeouts.grace_s: found 900 s, expected less than timeouts.stop_s" in captured.err
    assert "no-such-case" in captured.err


def test_the_text_shows_nodes_ranks_roles_and_limits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "two-ctx", "--set", "timeouts.probe_s=7"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert lines[0] == "disagg-e2e-two-ctx"
    assert "  needs   4 nodes x 4 GPUs = 16 GPUs" in lines
    start = lines.index("  NODE  ROLE           RANKS  GPUS")
    assert lines[start + 1 : start + 7] == [
        "  0     GEN_0          0-3    0-3",
        "        DISAGG_SERVER  0      -",
        "        BENCHMARK      0      -",
        "  1     GEN_0          4-5    0-1",
        "  2     CTX_0          0-1    0-1",
        "  3     CTX_1          0-1    0-1",
    ]
    assert any(line.split() == ["probe", "7", "s", "1"] for line in lines)
    assert any(line.split() == ["whole", "run", "3600", "s"] for line in lines)
    assert "  info    placeholders not filled: slurm.partition <partition>" in lines


class StandIn(BaseEngine):
    """Builds commands from what it is asked for; everything else of an engine is not needed here."""

    def server(self, request: ServerRequest) -> Launch:
        argv = ("serve", request.spec.kind, request.host, f"a b {request.index}")
        files = {request.config_dir / "engine.yaml": "api_key: hunter22hunter22\n"}
        return Launch(argv, request.address_file, env={"HF_TOKEN": "hunter22hunter22", "LEVEL": "x"}, files=files)

    def coordinator(self, request: CoordinatorRequest) -> Launch:
        return Launch(("route", *request.ctx, *request.gen), request.address_file)


@pytest.fixture
def stand_in() -> Iterator[None]:
    registry.register("stand-in", StandIn)
    yield
    registry.unregister("stand-in")


@pytest.mark.usefixtures("stand_in")
def test_commands_come_from_the_engine_and_hide_secrets(plan: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = plan("two-ctx", "--engine", "stand-in", "--commands")["commands"]

    assert [command["role"] for command in found] == ["GEN_0", "CTX_0", "CTX_1", "DISAGG_SERVER"]
    assert found[2]["argv"] == ["serve", "ctx", "node3", "a b 1"]
    assert found[3]["argv"] == ["route", "node2:0", "node3:0", "node0:0"]
    assert "hunter22" not in json.dumps(found)

    assert main(["plan", "two-ctx", "--engine", "stand-in", "--commands"]) == 0
    text = capsys.readouterr().out
    assert "serve ctx node3 'a b 1'" in text
    assert "/RUN_DIR/config/CTX_1/engine.yaml:" in text
    assert "hunter22" not in text


def test_commands_of_an_engine_that_is_not_installed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "two-ctx", "--commands", "--engine", "nobodys"]) == 0
    assert "unknown engine 'nobodys', expected" in capsys.readouterr().out
