"""`disagg plan --commands` of the example case, whole; ``DISAGG_UPDATE_GOLDEN=1`` writes the golden file anew."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pytest_disagg.cli.main import main
from tests.standins import vllm_serve

ROOT = Path(__file__).resolve().parents[4]
EXAMPLE = ROOT / "test_configs/examples/example_vllm_moe_ctx2_tp4_gen1_dp8.yaml"
GOLDEN = ROOT / "tests/data/plan/vllm.json"


def test_the_example(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISAGG_VLLM", "DISAGG_VLLM_ROUTER"):
        monkeypatch.delenv(name, raising=False)
    assert main(["plan", str(EXAMPLE), "--commands", "--json"]) == 0
    plans = json.loads(capsys.readouterr().out)
    (plan,) = (each for each in plans if each["case"].startswith("disagg-e2e"))
    text = json.dumps(plan["commands"], indent=1, sort_keys=True) + "\n"
    if os.environ.get("DISAGG_UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
    for command in plan["commands"]:
        if command["role"] != "DISAGG_SERVER":
            vllm_serve.parser().parse_args(command["argv"][2:])
