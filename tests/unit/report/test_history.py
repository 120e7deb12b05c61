"""The history of a case in its report: which values, segments and band, and what is said where there is none."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.records import record as records
from pytest_disagg.report.history import with_history
from pytest_disagg.report.model import CaseReport, HistoryPlot
from pytest_disagg.report.read import read_case
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.verdict.history import HistoryError, MemoryHistory, SeriesKey
from tests.unit.report.conftest import CREATED_MS, Make, fields, metrics, record

DAY_MS = 86_400_000


def nights(levels: list[float], **more: Any) -> list[records.Record]:
    """A record a night before the run, at these shares of its own values, with 1 % noise."""
    noise = random.Random(5)
    return [
        record("disagg-e2e-x", 4, run_id=f"n{day}", **fields(metrics(level * noise.gauss(1, 0.01))))
        | {"ts_created": CREATED_MS - (len(levels) - day) * DAY_MS, **more}
        for day, level in enumerate(levels)
    ]


def plotted(case: CaseReport, metric: str = "token_throughput") -> HistoryPlot:
    return next(plot for plot in case.history if plot.metric == metric)


def test_gating_metrics_over_the_nights(make_run: Make) -> None:
    history = MemoryHistory(nights([0.9] * 15 + [1.0] * 15))
    case = with_history(read_case(make_run(concurrencies=(4,))), history)
    assert [plot.metric for plot in case.history] == [
        "token_throughput",
        "total_token_throughput",
        "median_ttft",
        "median_tpot",
    ]
    plot = plotted(case)
    assert len(plot.points) == 31
    assert (plot.points[-1].value, plot.points[-1].run_id, plot.points[-1].word) == (1000, "r1", "pass")
    assert [(level.first, level.last) for level in plot.levels] == [(0, 14), (15, 29)]
    assert [level.value for level in plot.levels] == pytest.approx([900, 1000], rel=0.01)
    assert case.history_note == ""


def test_the_band_is_open_on_the_better_side(make_run: Make) -> None:
    history = MemoryHistory(nights([1.0] * 20))
    case = with_history(read_case(make_run(concurrencies=(4,))), history)
    low, high = plotted(case).band or (None, None)
    assert high is None
    assert low is not None
    assert 900 < low < 980
    low, high = plotted(case, "median_ttft").band or (None, None)
    assert low is None
    assert high is not None
    assert 41 < high < 46


def test_a_short_history_has_no_band(make_run: Make) -> None:
    case = with_history(read_case(make_run(concurrencies=(4,))), MemoryHistory(nights([1.0] * 3)))
    assert plotted(case).band is None
    assert len(plotted(case).points) == 4


def test_what_is_no_part_of_the_history(make_run: Make) -> None:
    """The run itself, what came after it, other GPUs, other branches, invalid records."""
    folder = make_run(concurrencies=(4,))
    later = nights([1.0], ts_created=CREATED_MS + 1)
    own = records.read(RunDir(folder).records)
    others = [
        *nights([1.0], s_gpu_type="b200"),
        *nights([1.0], s_branch="feature"),
        *nights([1.0], b_is_valid=False),
        *nights([1.0], b_rehearsal=True),
    ]
    case = with_history(read_case(folder), MemoryHistory([*own, *later, *others]))
    assert case.history == ()
    assert case.history_note.startswith("No history")


def test_a_history_that_cannot_be_read_is_said(make_run: Make) -> None:
    class Broken:
        def series(self, key: SeriesKey) -> list[records.Record]:
            raise HistoryError("index.sqlite: disk I/O error")

    case = with_history(read_case(make_run()), Broken())
    assert case.history_note == "The history could not be read: index.sqlite: disk I/O error"


def test_a_run_that_measured_nothing_needs_no_note(tmp_path: Path) -> None:
    assert with_history(read_case(tmp_path), MemoryHistory()).history_note == ""
