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

from pytest_disagg.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
REAL = sorted((ROOT / "../shared/spec/trtllm-configs").resolve().glob("*/*.yaml"))
GOLDEN = ROOT / "tests/data/plan"
CHOSEN = {
    "aggregated": "gpt_oss_120b_fp4_grace_blackwell",
    "several-nodes": "gb200_deepseek-r1-fp4_1k1k_con2048_ctx2_dep4_gen1_dep16_eplb0_mtp3_ccb-NIXL",
    "several-gen": "gb300_deepseek-v4-pro-fp4_8k1k_con8_ctx1_dep4_gen4_tep8_eplb0_mtp3_ccb-NIXL",
}
needs_spec = pytest.mark.skipif(not REAL, reason="../shared is not here")


def planned(capsys: pytest.CaptureFixture[str], path: Path) -> list[dict[str, Any]]:
    assert main(["plan", str(path), "--commands", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    return found if isinstance(found, list) else [found]


@needs_spec
@pytest.mark.parametrize("path", REAL or [None], ids=lambda path: path.stem if path else "none")
def test_every_role_has_its_command(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for plan in planned(capsys, path):
        commands = {each["role"]: each for each in plan["commands"]}
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


def test_ranks_and_launcher_are_in_the_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    document = {
        "cases": ["disagg-e2e"],
        "metadata": {"model_name": "m"},
        "hardware": {"gpus_per_node": 4, "num_ctx_servers": 1, "num_gen_servers": 1},
        "worker_config": {"gen": {"tensor_parallel_size": 8}, "ctx": {"tensor_parallel_size": 2}},
    }
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(document))
    assert main(["plan", str(path), "--commands"]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("  GEN_0, started by pytest on rank 0 of 8")
    assert lines[at + 1] == "    each rank: trtllm-llmapi-launch pytest"
    assert "${SLURM_LOCALID}" in lines[at + 2]
    assert "  DISAGG_SERVER" in lines
