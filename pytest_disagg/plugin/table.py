"""The table after a session: case, point, verdict, headline metrics, and where the records lie."""

from __future__ import annotations

from pathlib import Path

from pytest_disagg.records.gpu_hours import NAMES, PREFIX, GpuHours, total
from pytest_disagg.rundir.outcome import shown

HEADLINE = (
    ("token_throughput", "tok/s"),
    ("median_ttft", "TTFT p50 ms"),
    ("median_tpot", "TPOT p50 ms"),
    ("mean_gen_worker_per_iter_device_step_time", "step ms"),
)


def table(rows: list[dict[str, str]]) -> list[str]:
    """The table's lines; one row per measured point, one for a case that measured nothing."""
    cells = [("case", "point", "verdict", *(title for _, title in HEADLINE))]
    notes: list[str] = []
    for row in rows:
        quarantine = row.get("quarantine", "")
        points = [point for point in row.get("points", "").split(" ") if point]
        for position, point in enumerate(points or [""]):
            case = row.get("case", row["node"]) if position == 0 else ""
            word = row.get("verdict", "") if position == 0 else row.get(f"{point}.verdict", "")
            metrics = [_short(row.get(f"{point}.{name}", "")) for name, _ in HEADLINE]
            cells.append((case, point, shown(row.get(f"{point}.verdict", word), quarantine), *metrics))
        if quarantine:
            found = f"; red all the same: {row['red']}" if row.get("red") else ""
            notes.append(f"  {row.get('case', row['node'])}: {quarantine}{found}")
        notes += [f"  {row.get('case', row['node'])}: {line}" for line in row.get("lines", "").splitlines()]
        where = row.get("records") or row.get("run_dir")
        if where:
            what = "records" if row.get("records") else "run"
            notes.append(f"  {row.get('case', row['node'])}: {what} in {_near(where)}")
    used = [column for column in range(len(cells[0])) if column < 3 or any(line[column] for line in cells[1:])]
    widths = {column: max(len(line[column]) for line in cells) for column in used}
    notes += _hours(rows)
    lines = ["  ".join(line[column].ljust(widths[column]) for column in used).rstrip() for line in cells]
    return [*lines, *notes]


def _hours(rows: list[dict[str, str]]) -> list[str]:
    """GPU-hours of each case that has them, and of several together."""
    found = {}
    for position, row in enumerate(rows):
        given = {name: float(row[f"{PREFIX}{name}"]) for name in NAMES if row.get(f"{PREFIX}{name}")}
        if hours := GpuHours.read(given):
            found[position] = hours
    lines = [f"  {rows[at].get('case', rows[at]['node'])}: GPU-hours: {hours}" for at, hours in found.items()]
    return [*lines, *([f"  GPU-hours of {len(found)} cases: {total(found.values())}"] if len(found) > 1 else [])]


def _short(number: str) -> str:
    """A metric as a table shows it: one decimal from 100 on, else two."""
    return f"{float(number):.{1 if float(number) >= 100 else 2}f}" if number else ""


def _near(path: str) -> str:
    """The path as seen from here, where it lies below."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
