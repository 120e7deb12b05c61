"""How long a verdict waits for its history: a folder of a million records, one new record.

    python benchmarks/history.py                    1 000 000 records, about 6 minutes, 3 GB below --folder
    python benchmarks/history.py --records 50000

The folder is made once (200 000 files of 5 records, 500 series) and indexed as ``disagg history rebuild`` does. Then,
each time in a process of its own: the history is opened and brought up to date, one series is read, and one new run is
kept, as the judge and the store stage of a run do. Shown are medians; the aim is less than 1 s for all three.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from pytest_disagg.records.record import Record
from pytest_disagg.store.index import FILE_NAME
from pytest_disagg.store.local import LocalHistory, build, keep
from pytest_disagg.store.truth import file_name
from pytest_disagg.verdict.history import SeriesKey

PER_FILE = 5
CASES = 100
DAY_MS = 86_400_000
LIKE_A_REAL_ONE = {f"s_gen_field_{number}": f"value {number}" for number in range(40)} | {
    f"l_ctx_field_{number}": number for number in range(40)
}
METRICS = {f"d_metric_{number}": 100.0 + number for number in range(30)}


def records_of(run: int) -> Iterator[Record]:
    """What one run of one case measured, at five concurrencies."""
    for position in range(PER_FILE):
        yield {
            "l_schema_version": 1,
            "s_run_id": f"run-{run}",
            "s_case_id": case_of(run),
            "s_client_name": f"con{2**position}",
            "s_engine": "sim",
            "s_gpu_type": "gb200",
            "s_cluster": "lab",
            "l_concurrency": 2**position,
            "ts_created": 1_700_000_000_000 + run // CASES * DAY_MS // 24,
            "b_is_valid": True,
            "d_token_throughput": 1000.0 + run % 17,
            **LIKE_A_REAL_ONE,
            **METRICS,
        }


def case_of(run: int) -> str:
    return f"disagg_upload-e2e-some-model-fp4-case-{run % CASES}"


def make(folder: Path, count: int) -> None:
    """Write the record files, without the care that a real one takes."""
    (folder / "records").mkdir(parents=True)
    for run in range(count // PER_FILE):
        text = "".join(json.dumps(record) + "\n" for record in records_of(run))
        (folder / "records" / file_name(f"run-{run}", case_of(run))).write_text(text, encoding="utf-8")


def ask(folder: Path, run: int) -> dict[str, float]:
    """Seconds that one new run waits."""
    new = list(records_of(run))
    start = time.perf_counter()
    with LocalHistory(folder) as history:
        opened = time.perf_counter()
        found = len(history.series(SeriesKey.of(new[0])))
        read = time.perf_counter()
    keep(folder, file_name(f"run-{run}", case_of(run)), new)
    kept = time.perf_counter()
    return {
        "opened and brought up to date": opened - start,
        "one series read": read - opened,
        "new run kept": kept - read,
        "all three": kept - start,
        "records": float(found),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the history is made (default: a temporary directory)")
    parser.add_argument("--ask", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ask is not None:
        print(json.dumps(ask(options.folder, options.ask)))
        return 0
    folder = options.folder or Path(tempfile.mkdtemp(prefix="disagg-history-"))
    try:
        start = time.perf_counter()
        make(folder, options.records)
        made = time.perf_counter()
        count, _ = build(folder)
        built = time.perf_counter()
        size = (folder / FILE_NAME).stat().st_size
        print(f"{count} records in {count // PER_FILE} files, written in {made - start:.0f} s")
        print(f"index built in {built - made:.0f} s, {size / 1e6:.0f} MB")
        first = options.records // PER_FILE
        command = [sys.executable, __file__, "--folder", str(folder), "--ask"]
        found = [
            json.loads(subprocess.run([*command, str(first + run)], capture_output=True, text=True, check=True).stdout)
            for run in range(options.runs)
        ]
        print(f"one series has {found[0]['records']:.0f} records")
        print(f"{'':<32}{'median':>10}{'slowest':>10}")
        for step in [name for name in found[0] if name != "records"]:
            taken = [each[step] for each in found]
            print(f"{step:<32}{median(taken) * 1000:7.0f} ms{max(taken) * 1000:7.0f} ms")
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
