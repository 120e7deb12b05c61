"""Run directories as runs leave them, made of data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.records import record as records
from pytest_disagg.rundir.files import to_json, write_text
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.rundir.outcome import Outcome
from pytest_disagg.rundir.state import Failure, RoleState

CREATED_MS = 1_795_250_860_000
Make = Callable[..., Path]


def record(case: str, concurrency: int, *, run_id: str = "r1", repeat: int = 0, **fields: Any) -> records.Record:
    """A valid record of an e2e case on the machine ``c1``."""
    return {
        "s_run_id": run_id,
        "s_case_id": case,
        "s_client_name": f"con{concurrency}",
        "s_benchmark_mode": "e2e",
        "s_gpu_type": "h100",
        "s_cluster": "c1",
        "s_branch": "main",
        "b_is_valid": True,
        "l_concurrency": concurrency,
        "l_repeat": repeat,
        "ts_created": CREATED_MS,
        **fields,
    }


def metrics(scale: float = 1.0) -> dict[str, float]:
    return {
        "token_throughput": 1000 * scale,
        "total_token_throughput": 9000 * scale,
        "output_token_throughput_per_gpu": 250 * scale,
        "output_token_throughput_per_user": 60 * scale,
        "median_ttft": 40 / scale,
        "p99_ttft": 80 / scale,
        "median_tpot": 16 / scale,
        "median_e2el": 500 / scale,
    }


def fields(values: Mapping[str, float]) -> dict[str, Any]:
    """Metrics under the names of a record."""
    return {f"d_{name}": value for name, value in values.items()}


def requests(ttfts_s: Sequence[float], tokens: int = 11, tpot_s: float = 0.01) -> dict[str, Any]:
    """A load's result file, as far as a report reads it."""
    return {
        "ttfts": list(ttfts_s),
        "e2els": [ttft + (tokens - 1) * tpot_s if ttft else 0.0 for ttft in ttfts_s],
        "output_lens": [tokens if ttft else 0 for ttft in ttfts_s],
    }


@pytest.fixture
def make_run(tmp_path: Path) -> Make:
    """Write ``<tmp>/w/<run id>/<case>/``."""

    def make(
        case: str = "disagg-e2e-x",
        run_id: str = "r1",
        *,
        concurrencies: Sequence[int] = (4, 8),
        scale: float = 1.0,
        verdict: str = "pass",
        kind: str | None = None,
        cause: Failure | None = None,
        red: Sequence[str] = (),
        logs: Mapping[str, str] | None = None,
        info: str = "",
        outcome: bool = True,
        gpu_hours: Mapping[str, float] | None = None,
        quarantine: str = "",
        slo_ms: Mapping[str, float] | None = None,
        excused: bool = False,
    ) -> Path:
        rundir = RunDir.of(tmp_path / "w", run_id, case)
        rundir.make()
        measured = {f"con{each}": metrics(scale * each / 4) for each in concurrencies}
        if outcome:
            Outcome(
                run_id,
                case,
                verdict,
                kind,
                cause,
                tuple(red),
                metrics=measured,
                words=dict.fromkeys(measured, verdict),
                stage_times={"ready": 1.5, "measure": 2.0},
                gpu_hours=gpu_hours or {},
                quarantine=quarantine,
                excused=excused,
            ).write(rundir)
        for index, each in enumerate(concurrencies):
            found = record(case, each, run_id=run_id, s_verdict=verdict, s_regression_info=info)
            limits = {f"d_slo_{name}_ms": limit for name, limit in (slo_ms or {}).items()}
            records.append(rundir.records, [{**found, **limits, **fields(measured[f"con{each}"])}])
            document = requests([0.04, 0.05, 0.06])
            write_text(rundir.results / f"load.0.{index}.r0.json", to_json(document))
        begin = CREATED_MS / 1000
        for position, role in enumerate(("BENCHMARK", "CTX_0", "GEN_0")):
            spans = (("launch", begin, begin + 1.0), ("ready", begin + 1.0, begin + 1.5))
            mine = (*spans, ("measure", begin + 1.5, begin + 3.5)) if role == "BENCHMARK" else spans
            failed = cause if cause is not None and cause.role == role else None
            state = RoleState(role, "failed" if failed else "stopped", pid=position, timeline=mine, failure=failed)
            write_text(rundir.role(role), to_json(state.to_dict()))
        for name, text in (logs or {"GEN_0": "ready\n"}).items():
            rundir.log(name).write_text(text)
        write_text(rundir.manifest, to_json({"host": "node-1", "config": {"engine": "sim"}, "version": "0.1.0"}))
        return rundir.path

    return make
