"""What is of a run and not of its points, in every form of a report: GPU-hours, quarantine, the case's SLO."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.records.gpu_hours import GpuHours
from pytest_disagg.report import markdown, page, pdf
from pytest_disagg.report.model import CaseReport, Report
from pytest_disagg.report.read import read_case
from tests.unit.report.conftest import Make
from tests.unit.report.test_page import Page
from tests.unit.report.test_pdf import text_of

HOURS = {"allocated": 2.0, "useful": 0.5, "wasted": 1.5}
QUARANTINE = "quarantined by ann until 2026-12-05: hangs on n3"


@pytest.fixture
def cases(make_run: Make) -> tuple[CaseReport, ...]:
    """One case in quarantine with an SLO that con8 breaks; one with nothing of all that but hours."""
    odd = make_run("disagg-e2e-odd", gpu_hours=HOURS, quarantine=QUARANTINE, slo_ms={"ttft": 70.0}, scale=0.9)
    return read_case(odd), read_case(make_run("disagg-e2e-plain", gpu_hours=HOURS))


Forms = Callable[[Report], str]


def as_html(report: Report) -> str:
    return Page(page.render(report)).text


def as_markdown(report: Report) -> str:
    return markdown.render(report).replace("\\", "")


@pytest.mark.parametrize("form", [as_html, as_markdown])
def test_hours_quarantine_and_slo_are_shown(cases: tuple[CaseReport, ...], form: Forms) -> None:
    text = " ".join(form(Report("2 runs", "now", cases)).split())
    assert "GPU-hours: 4.00 allocated, 1.00 useful, 3.00 wasted (75 %)" in text
    assert QUARANTINE in text
    assert "p99 TTFT <= 70 ms" in text
    assert "con4: P99 TTFT 88.89 ms over 70 ms" in text
    assert "not monotonic" in text


def test_and_in_the_pdf(cases: tuple[CaseReport, ...], tmp_path: Path) -> None:
    pdf.write(tmp_path / "r.pdf", Report("2 runs", "now", cases))
    text = " ".join(text_of(tmp_path / "r.pdf").split())
    assert "GPU-hours: 4.00 allocated, 1.00 useful, 3.00 wasted (75 %)" in text
    assert text.count("GPU-hours: 2.00 allocated, 0.500 useful, 1.50 wasted (75 %)") == 2
    assert QUARANTINE in text
    assert "p99 TTFT <= 70 ms" in text
    assert "not monotonic" in text


@pytest.mark.parametrize("form", [as_html, as_markdown])
def test_a_run_without_them_does_not_mention_them(make_run: Make, form: Forms) -> None:
    text = form(Report("Run r1", "now", (read_case(make_run()),)))
    assert "GPU-hours" not in text
    assert "quarantine" not in text
    assert "breaks first" not in text


def test_each_case_of_the_page_has_its_own(cases: tuple[CaseReport, ...]) -> None:
    text = " ".join(as_html(Report("2 runs", "now", cases)).split())
    assert text.count("GPU-hours: 2.00 allocated, 0.500 useful, 1.50 wasted (75 %)") == 2


def test_hostile_words_of_a_quarantine_are_text(make_run: Make) -> None:
    hostile = "quarantined by <script>alert(1)</script> | @all until 2026-12-05"
    report = Report("Run r1", "now", (read_case(make_run(quarantine=hostile)),))
    assert "<script>" not in page.render(report)
    assert "<script>" not in markdown.render(report)
    assert "\\| @\u200ball" in markdown.render(report)


def test_what_the_job_says_wins_over_what_benchmark_knew(make_run: Make) -> None:
    folder = make_run(gpu_hours=HOURS)
    job: dict[str, Any] = {"verdict": "pass", "gpu_hours": {"allocated": 3.0, "useful": 0.5}, "quarantine": QUARANTINE}
    (folder / "job.json").write_text(json.dumps(job))
    case = read_case(folder)
    assert (case.gpu_hours, case.quarantine) == (GpuHours(3.0, 0.5), QUARANTINE)
    assert case.shown_verdict == "pass (quarantined by ann until 2026-12-05)"


@pytest.mark.parametrize("broken", [{"allocated": "many"}, [], None, {"useful": 1}])
def test_hours_that_cannot_be_read_are_none(make_run: Make, broken: object) -> None:
    folder = make_run()
    (folder / "job.json").write_text(json.dumps({"verdict": "pass", "gpu_hours": broken}))
    assert read_case(folder).gpu_hours is None


def test_they_are_no_metrics_of_a_point(make_run: Make) -> None:
    folder = make_run(slo_ms={"ttft": 70.0}, outcome=False)
    path = folder / "results/records.jsonl"
    found = [{**json.loads(line), "d_gpu_hours_allocated": 2.0} for line in path.read_text().splitlines()]
    path.write_text("".join(f"{json.dumps(each)}\n" for each in found))
    names = {name for load in read_case(folder).loads for name in load.metrics}
    assert "median_ttft" in names
    assert not [name for name in names if name.startswith(("gpu_hours", "slo_"))]


def test_what_is_red_in_quarantine_does_not_make_the_report_red(make_run: Make, tmp_path: Path) -> None:
    red = "regression: con4: slower"
    excused = read_case(
        make_run(
            "disagg-e2e-odd", verdict="regression", kind="regression", red=[red], quarantine=QUARANTINE, excused=True
        )
    )
    report = Report("2 runs", "now", (excused, read_case(make_run("disagg-e2e-plain"))))
    assert (report.bad, report.verdict) == (False, "pass")
    assert report.summary == "2 cases: 1 regression in quarantine, 1 pass"
    assert Report("1 run", "now", (excused,)).verdict == "quarantined"
    pdf.write(tmp_path / "r.pdf", report)
    for text in (as_html(report), as_markdown(report), text_of(tmp_path / "r.pdf")):
        assert red in " ".join(text.split())
