"""The text for a merge request."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_disagg.report.compare import compare, of_case
from pytest_disagg.report.markdown import plain, render
from pytest_disagg.report.model import Report
from pytest_disagg.report.read import read_case
from tests.unit.report.conftest import Make


def test_verdict_reasons_and_tables(make_run: Make) -> None:
    good = read_case(make_run("good", concurrencies=(4,)))
    bad = read_case(make_run("bad", concurrencies=(), verdict="failed", kind="functional", red=["GEN_0 died"] * 7))
    text = render(Report("Run r1", "now", (good, bad)), compare([of_case(good), of_case(good)]))
    lines = text.splitlines()
    assert lines[0] == "### Run r1: failed"
    assert lines[2] == "2 cases: 1 pass, 1 failed (functional)"
    assert lines.count("- GEN\\_0 died") == 5
    assert "- ... and 2 more" in lines
    row = next(line for line in lines if line.startswith("| good | con4 | pass |"))
    head = next(line for line in lines if line.startswith("| case |"))
    assert row.count("|") == head.count("|")
    assert "| bad |  | failed |" in text
    compared = next(line for line in lines if line.startswith("| Output token throughput (tok/s) | good/con4"))
    assert compared.endswith("| 0.0 % |")


def test_scores_stand_beside_their_limits(make_run: Make) -> None:
    said = ("accuracy: gsm8k exact_match,none 0.95 ± 0.006: at least 0.88", "con4: a note of the load")
    lines = render(Report("Run r1", "now", (replace(read_case(make_run("good")), lines=said),))).splitlines()
    assert [line for line in lines if line.startswith("- ")] == [
        "- good: accuracy of gsm8k exact\\_match,none 0.95 ± 0.006: at least 0.88"
    ]
    # A list right below a table would be a row of it.
    assert lines[lines.index("- good: accuracy of gsm8k exact\\_match,none 0.95 ± 0.006: at least 0.88") - 1] == ""


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a_b*c*", "a\\_b\\*c\\*"),
        ("x | y\nz", "x \\| y z"),
        ("<img src=x>", "\\<img src=x\\>"),
        ("@all #12 ![](u)", "@\u200ball \\#12 \\!\\[\\](u)"),
    ],
)
def test_text_of_a_run_is_never_markup(text: str, escaped: str) -> None:
    assert plain(text) == escaped
