"""`disagg plan --commands` for real TensorRT-LLM files: whole commands, no secret; golden files for three of them.

``DISAGG_UPDATE_GOLDEN=1 pytest tests/unit/cli/test_plan_commands.py`` writes the files of tests/data/plan anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_disagg.cli.main import EXIT_USAGE, main

ROOT = Path(__file__).resolve().parents[3]
REAL = sorted((ROOT / "../shared/spec/trtllm-configs").resolve().glob("*/*.yaml"))
GOLDEN = ROOT / "tests/data/plan"
CHOSEN = {
    "aggregated": "gpt_oss_120b_fp4_grace_blackwell",
    "several-nodes": "gb200_deepseek-r1-fp4_1k1k_con2048_ctx2_dep4_gen1_dep16_eplb0_mtp3_ccb-NIXL",
    "several-gen": "gb300_deepseek-v4-pro-fp4_8k1k_con8_ctx1_dep4_gen4_tep8_eplb0_mtp3_ccb-NIXL",
}
needs_spec = pytest.mark.skipif(not REAL, reason="../shared is not here")


def planned(capsys: pytest.CaptureFixture[str], *words: Path | str) -> list[dict[str, Any]]:
    assert main(["plan", *map(str, words), "--commands", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    return found if isinstance(found, list) else [found]


@needs_spec
@pytest.mark.parametrize("path", REAL or [None], ids=lambda path: path.stem if path else "none")
def test_every_role_has_its_command(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for plan in planned(capsys, path):
        # What BENCHMARK starts is none of the engine's.
        commands = {each["role"]: each for each in plan["commands"] if each["role"] != "BENCHMARK"}
        placed = {each["role"] for node in plan["nodes"] for each in node["roles"]}
        assert placed - {"BENCHMARK"} <= commands.keys()
        for role, command in commands.items():
            argv = command["argv"]
            assert "trtllm-serve" in argv
            assert argv.count("disaggregated") == (role == "DISAGG_SERVER")
            for text in command["files"].values():
                written = yaml.safe_load(text)
                assert written.get("internal_request_auth_key", "***") == "***"


@needs_spec
@pytest.mark.parametrize("name", CHOSEN)
def test_golden_files(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = (each for each in REAL if each.stem == CHOSEN[name])
    # Commands alone: limits and layout have tests of their own.
    found = [{"case": plan["case"], "commands": plan["commands"]} for plan in planned(capsys, path)]
    text = json.dumps(found, indent=1, sort_keys=True) + "\n"
    golden = GOLDEN / f"{name}.json"
    if os.environ.get("DISAGG_UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()


DISAGG: dict[str, Any] = {
    "cases": ["disagg-e2e"],
    "metadata": {"model_name": "m"},
    "hardware": {"gpus_per_node": 4, "num_ctx_servers": 1, "num_gen_servers": 1},
    "worker_config": {"gen": {"tensor_parallel_size": 8}, "ctx": {"tensor_parallel_size": 2}},
}


def write(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(document))
    return path


def test_ranks_and_launcher_are_in_the_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = write(tmp_path / "c.yaml", DISAGG)
    assert main(["plan", str(path), "--commands"]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("  GEN_0, started by pytest on rank 0 of 8")
    assert lines[at + 1] == "    each rank: trtllm-llmapi-launch pytest"
    assert "${SLURM_LOCALID}" in lines[at + 2]
    assert "  DISAGG_SERVER" in lines


@pytest.fixture
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISAGG_CLIENT", "DISAGG_VLLM_BENCH", "DISAGG_BENCHMARK_SERVING", "DISAGG_LM_EVAL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("_clean")
def test_the_load_and_the_accuracy_tasks_have_commands_too(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    task = {"model_args_extra": "num_concurrent=4", "extra_kwargs": {"custom_config": "own.yaml", "limit": 3}}
    document = {
        **DISAGG,
        "environment": {"client_env_var": "HF_TOKEN=hf_secret TZ=UTC"},
        "benchmark": {
            "concurrency_list": "2 4",
            "multi_round": 3,
            "input_length": 64,
            "output_length": 16,
            "benchmark_client": "vllm_bench",
        },
        "accuracy": {"enable_accuracy_test": True, "env_var": {"HF_HOME": "/hf"}, "tasks": {"own": task}},
    }
    path = write(tmp_path / "c.yaml", document)
    assert main(["plan", str(path), "--commands", f"--models-root={folder.parent}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for concurrency in (2, 4):
        load = f"con{concurrency}_iter3_isl64_osl16"
        line = lines[lines.index(f"  BENCHMARK, measure {load}") + 1]
        assert line.startswith("    HF_TOKEN='***' TZ=UTC vllm bench serve --backend openai --base-url http://node0:0 ")
        assert f" --tokenizer {folder} " in line
        assert f" --num-prompts {3 * concurrency} --max-concurrency {concurrency} --seed 0 " in line
        assert f" --result-dir /RUN_DIR/logs/client/{load}.r0/vllm_bench " in line
    assert lines[lines.index("  BENCHMARK, accuracy own") + 1] == (
        "    HF_HOME=/hf lm_eval --model local-completions --tasks own "
        f"--model_args model={folder},base_url=http://node0:0/v1/completions,num_concurrent=4 "
        "--log_samples --output_path /RUN_DIR/accuracy_eval_own.0 --include_path /RUN_DIR/lm_eval_configs --limit 3"
    )
    # A plan writes nothing: what these read is a run's.
    assert sorted(each.name for each in tmp_path.iterdir()) == ["c.yaml", "models"]
    monkeypatch.setenv("DISAGG_CLIENT", "native")
    assert [each["name"] for each in planned(capsys, path)[0]["commands"] if each["role"] == "BENCHMARK"] == ["own"]


@pytest.mark.usefixtures("_clean")
def test_each_aggregated_server_gets_its_own_loads(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    load = {"concurrency": 2, "iterations": 2, "isl": 8, "osl": 8, "benchmark_client": "benchmark_serving"}
    servers = [
        {
            "name": name,
            "model_name": "org/m",
            "tensor_parallel_size": 1,
            "client_configs": [{**load, "name": f"of-{name}"}],
        }
        for name in ("one", "two")
    ]
    path = write(tmp_path / "c.yaml", {"hardware": {"gpus_per_node": 4}, "cases": ["aggr"], "server_configs": servers})
    # The whole file as one case: it deploys one server after the other.
    for plan, name in zip(planned(capsys, "aggr-c", f"--config-dir={path.parent}"), ("one", "two"), strict=True):
        (command,) = (each for each in plan["commands"] if each["role"] == "BENCHMARK")
        assert (command["stage"], command["name"]) == ("measure", f"of-{name}")
        assert command["argv"][:3] == ["python", "-m", "tensorrt_llm.serve.scripts.benchmark_serving"]
        assert command["argv"][-4:] == ["--host", "node0", "--port", "0"]


@pytest.mark.usefixtures("_clean")
def test_a_load_generator_that_nobody_knows(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "c.yaml", DISAGG)
    assert main(["plan", str(path), "--commands", "--client=aipref"]) == EXIT_USAGE
    assert "unknown client 'aipref', expected one of aiperf, " in capsys.readouterr().err
    # Of the environment it may be one that a conftest.py offers: then only its commands are not known here.
    monkeypatch.setenv("DISAGG_CLIENT", "second")
    (plan,) = planned(capsys, path)
    assert plan["notes"][-1].startswith("no commands of BENCHMARK: unknown client 'second'")
    assert {each["role"] for each in plan["commands"]} == {"CTX_0", "GEN_0", "DISAGG_SERVER"}
