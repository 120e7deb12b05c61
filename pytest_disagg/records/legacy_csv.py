"""``perf_script_test_results.csv``: results in the columns that TensorRT-LLM's perf tools read (sanity_perf_check.py,
create_perf_comparison_report.py). Those join on ``perf_case_name``, so each metric of each point has a name of its own.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.records.metrics import METRICS
from pytest_disagg.records.points import group
from pytest_disagg.records.record import Value

FILE_NAME = "perf_script_test_results.csv"
COLUMNS = (
    "network_name",
    "network_hash",
    "sm_clk",
    "mem_clk",
    "gpu_idx",
    "device_subtype",
    "perf_case_name",
    "test_name",
    "original_test_name",
    "perf_metric",
    "total_time__sec",
    "start_timestamp",
    "end_timestamp",
    "state",
    "command",
    "threshold",
    "absolute_threshold",
    "metric_type",
)
THRESHOLD = 0.1
"""Written as -0.1 where larger is better: the sign is the direction."""


def rows(records: Sequence[Mapping[str, Value]], command: str = "") -> list[dict[str, str]]:
    """One row per metric that has a direction and point that passed the gate; of repeats the median.

    ``command`` is stored as given. Times are UTC; the start is the end less the load's duration.
    """
    table = []
    for point in group(records):
        if not point.valid:
            continue
        first = point.first
        duration = point.value("duration_s") or 0.0
        created = first.get("ts_created", 0)
        end = float(created) / 1000 if isinstance(created, int) else 0.0
        for name, metric in METRICS.items():
            value = point.value(name)
            if value is None or metric.direction == "neutral":
                continue
            stage = first.get("s_stage_name", "")
            prefix = f"{stage}/" if stage else ""
            table.append(
                {
                    "network_name": str(first.get("s_model_name", first.get("s_server_name", ""))),
                    "network_hash": str(first.get("s_config_digest", "")),
                    "sm_clk": "",
                    "mem_clk": "",
                    "gpu_idx": "0",
                    "device_subtype": str(first.get("s_gpu_type", "")),
                    "perf_case_name": f"{prefix}{point.case}/{point.label}/{name}",
                    "test_name": f"test_e2e[{point.case}]/{point.label}",
                    "original_test_name": point.case,
                    "perf_metric": f"{value:.6f}",
                    "total_time__sec": f"{duration:.3f}",
                    "start_timestamp": _utc(end - duration),
                    "end_timestamp": _utc(end),
                    "state": "valid",
                    "command": command,
                    "threshold": f"{-THRESHOLD if metric.direction == 'larger' else THRESHOLD:g}",
                    "absolute_threshold": "0",
                    "metric_type": name.upper(),
                }
            )
    return table


def _utc(epoch_s: float) -> str:
    return datetime.fromtimestamp(max(epoch_s, 0.0), timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def write(path: Path, records: Sequence[Mapping[str, Value]], command: str = "") -> None:
    """Put :func:`rows` of ``records`` into the file, behind those of other cases; a row of the same name is replaced.

    The file appears whole. One process writes at a time: the cases of a stage run one after the other.

    Raises:
        ConfigError: what is there has other columns.
    """
    table = rows(records, command)
    new = {row["perf_case_name"] for row in table}
    kept = [row for row in _existing(path) if row["perf_case_name"] not in new]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows([*kept, *table])
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text.getvalue(), encoding="utf-8")
    temporary.replace(path)


def _existing(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        there = list(reader)
        if reader.fieldnames is not None and "perf_case_name" not in reader.fieldnames:
            found = f"the columns {','.join(reader.fieldnames)}"
            raise ConfigError([Problem(path, 1, "", found, ",".join(COLUMNS))])
    return there
