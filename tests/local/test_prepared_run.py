"""A whole run with a stage ``prepare`` on every role, and the load's own gate: what prepares must not disturb it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.local.test_prepare import FILL, lines, said
from tests.pytester.conftest import DISAGG, make_project, run_pytest
from tests.standins import nvidia_smi


def test_one_fetch_for_all_roles_and_clocks_for_the_run(tmp_path: Path) -> None:
    asked = nvidia_smi.install(tmp_path / "bin", [{"power_limit": 500}, {"power_limit": 500}])
    calls, project = tmp_path / "calls", tmp_path / "project"
    (tmp_path / "fill.py").write_text(FILL)
    logs = str(project / "runs/r/*/logs/*.prepare.log")
    command = json.dumps([sys.executable, str(tmp_path / "fill.py"), str(calls), "{folder}", logs, "2"])
    # Each node has its own models root: every role fetches, and all of them are on this node.
    blocks = f"model: {{command: {command}, scope: node}}\nclocks: {{gpu_mhz: 1410}}\nmachine: {{}}\n"
    make_project(project, case=f"{DISAGG}{blocks}")
    done = run_pytest(
        project,
        "-p",
        "no:cacheprovider",
        "--junitxml=r.xml",
        "--disagg-work-dir=runs",
        f"--disagg-models-root={tmp_path / 'models'}",
        PATH=nvidia_smi.path_with(tmp_path / "bin"),
        DISAGG_RUN_ID="r",
    )
    assert done.code == 0, done.out
    assert len(lines(calls)) == 1
    assert sorted(path.name for path in (tmp_path / "models/sim-model").iterdir()) == [
        ".disagg-model.json",
        "config.json",
    ]
    (run,) = (project / "runs/r").iterdir()
    (record,) = [json.loads(line) for line in lines(run / "results/records.jsonl")]
    manifest = said(run / "results/manifest.json")
    assert (record["s_gpu_type"], record["s_node_group"]) == ("h100", "power 500 W, clocks 1410 MHz")
    assert (record["s_gpu_driver"], record["d_gpu_power_limit_w"], record["l_gpu_locked_mhz"]) == (
        "575.57.08",
        500,
        1410,
    )
    starts = manifest["server_start_s"]
    assert set(starts) == {"GEN_0", "CTX_0", "DISAGG_SERVER"}
    assert record["d_server_start_s"] == max(starts["GEN_0"], starts["CTX_0"]) > 0
    assert "prepare" in manifest["stages"]
    prepared = manifest["prepare"]
    assert set(prepared) == {"GEN_0", "CTX_0", "DISAGG_SERVER"}
    assert sum(each["models"]["sim-model"]["fetched"] for each in prepared.values()) == 1
    assert prepared["GEN_0"]["clocks"]["at_lock"]["sm_mhz"] == [1410, 1410]
    # Both servers see both GPUs; the run leaves them as they were.
    assert lines(asked).count("GPU-00000000-stand-in -lgc 1410,1410") == 2
    assert lines(asked).count("GPU-00000001-stand-in -rgc") == 2
    assert lines(asked)[-1].endswith("-rgc")
