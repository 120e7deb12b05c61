"""The PDF: pages, the text on them, whole or not at all."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_disagg.errors import UsageError
from pytest_disagg.report import pdf
from pytest_disagg.report.book import PAGE_IN, Column, pages, wrapped
from pytest_disagg.report.compare import compare, of_case
from pytest_disagg.report.figures.choice import Planned, figures_of
from pytest_disagg.report.model import Report
from pytest_disagg.report.read import read_case
from pytest_disagg.rundir.state import Failure
from tests.unit.report.conftest import Make

DEAD = Failure("GEN_0", "functional", "ready", "its server exited with code 3", exit_code=3)


def text_of(path: Path) -> str:
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext (poppler-utils) is not installed")
    return subprocess.run(["pdftotext", "-layout", str(path), "-"], check=True, capture_output=True, text=True).stdout


def test_it_says_what_the_page_says(make_run: Make, tmp_path: Path) -> None:
    good = read_case(make_run("disagg-e2e-good"))
    red = (DEAD.headline(),)
    bad = read_case(
        make_run(
            "disagg-e2e-bad",
            concurrencies=(),
            verdict="failed",
            kind="functional",
            cause=DEAD,
            red=red,
            logs={"GEN_0": "the end of the log\n"},
        )
    )
    path = tmp_path / "new" / "r.pdf"
    pdf.write(path, Report("Two cases", "now", (good, bad)), compare([of_case(good), of_case(good)]))
    assert path.read_bytes().startswith(b"%PDF-")
    assert [each.name for each in path.parent.iterdir()] == ["r.pdf"]
    text = text_of(path)
    for words in (
        "Two cases",
        "2 cases: 1 pass, 1 failed (functional)",
        "functional: GEN_0 failed in stage ready: its server exited with code 3",
        "configuration_2",
        "the end of the log",
        "Throughput per GPU against speed per user",
        "TTFT (ms)",
        "seconds since the first stage",
    ):
        assert words in text, words


def test_long_and_strange_text_stays_on_its_pages(make_run: Make, tmp_path: Path) -> None:
    strange = "x" * 5000 + " $\\frac{a}$ 漢字 \u202e & <b>"
    logs = {"GEN_0": "\n".join(f"{number} {strange[:300]}" for number in range(200))}
    case = read_case(make_run("a" * 200, verdict="failed", kind="functional", cause=DEAD, red=[strange], logs=logs))
    path = tmp_path / "r.pdf"
    pdf.write(path, Report(strange, "now", (case,)))
    assert "$\\frac{a}$" in text_of(path)


def test_without_matplotlib_it_says_what_to_install(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'pytest-disagg\[report\]'"):
        pdf.write(tmp_path / "r.pdf", Report("t", "now", ()))


def test_figures_fill_pages_in_order(make_run: Make) -> None:
    figure = figures_of(read_case(make_run()))[0]
    low = [Planned("x", str(number), 2.0, figure.draw) for number in range(7)]
    found = pages(low)
    assert [[each.caption for row in page for each in row] for page in found] == [list("012345"), ["6"]]
    high = Planned("x", "high", 2 * PAGE_IN[1], figure.draw)
    assert [len(page) for page in pages([high, high, *low[:2]])] == [1, 1]


def test_lines_are_wrapped_and_breaks_in_a_word_are_possible() -> None:
    assert wrapped("", 5, 9, mono=False) == [""]
    lines = wrapped("a" * 500, 5, 9, mono=True)
    assert "".join(lines) == "a" * 500
    assert {len(line) for line in lines[:-1]} == {66}
    assert Column("title", 1.0).right is False
