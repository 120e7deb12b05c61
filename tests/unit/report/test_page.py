"""The page: what it says, that it loads nothing, that nothing of a run is taken for markup."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from pytest_disagg.errors import UsageError
from pytest_disagg.report import page
from pytest_disagg.report.compare import compare, of_case
from pytest_disagg.report.figures.choice import figures_of
from pytest_disagg.report.figures.style import COLOURS
from pytest_disagg.report.model import CaseReport, HistoryPlot, Level, Load, Past, Report, Ruling
from pytest_disagg.report.numbers import percent, short
from pytest_disagg.report.read import read_case
from pytest_disagg.report.svg import render as render_svg
from pytest_disagg.rundir.state import Failure
from tests.unit.report.conftest import Make

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>$\\frac{1}$&amp;"
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """The elements of a page, and whether each one that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def ids(self) -> list[str]:
        return [each["id"] or "" for _, each in self.found if "id" in each]


def report(make_run: Make, **options: object) -> Report:
    return Report("Run r1", "2026-11-21", (read_case(make_run(**options)),))


def test_it_is_well_formed_and_loads_nothing(make_run: Make) -> None:
    cases = tuple(read_case(make_run(run_id=name)) for name in ("r1", "r2"))
    text = page.render(Report("2 runs", "now", cases), compare([of_case(case) for case in cases]))
    found = Page(text)
    assert found.open == []
    assert len(found.ids()) == len(set(found.ids()))
    assert not {tag for tag, _ in found.found} & {"script", "img", "iframe", "object", "embed", "base", "form"}
    ids = set(found.ids())
    for tag, attributes in found.found:
        for name in ("href", "src", "xlink:href", "action"):
            target = attributes.get(name) or ""
            assert target in ("", "data:,") or (target[0] == "#" and target[1:] in ids), (tag, target)
    outside = re.sub(r"xmlns=\"[^\"]*\"", "", text)
    assert not re.search(r"@import|https?://|url\((?!#)", outside)
    assert re.findall(r"url\(#([^)]+)\)", text)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= ids
    assert {attributes.get("http-equiv") for tag, attributes in found.found if tag == "meta"} >= {
        "Content-Security-Policy"
    }


def test_the_verdict_comes_first_and_red_cases_are_unfolded(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "figures_of", lambda case: [])
    dead = Failure("GEN_0", "functional", "ready", "its server exited with code 3")
    bad = make_run("disagg-e2e-bad", concurrencies=(), verdict="failed", kind="functional", cause=dead,
                   red=(dead.headline(),))  # fmt: skip
    good = [make_run(f"disagg-e2e-good{number}") for number in range(4)]
    text = page.render(Report("r", "now", tuple(read_case(folder) for folder in [*good, bad])))
    found = Page(text)
    assert found.text.index("failed") < found.text.index("disagg-e2e-good0")
    assert found.text.index("its server exited with code 3") < found.text.index("disagg-e2e-good0")
    sections = [part.partition("\n")[0] for part in text.split('<section class="case"')[1:]]
    assert len(sections) == 5
    opened = ["<details open>" in part[:200] for part in text.split('<section class="case"')[1:]]
    assert opened == [False] * 4 + [True]


def test_verdicts_are_shown_with_value_reference_effect_and_evidence() -> None:
    interval = (-7.0, -3.0)
    ruling = Ruling(
        "con4", "regression", "median_ttft", 40.0, 38.0, -5.3, interval, "night", "it is worse", ("n = 30",)
    )
    reported = Ruling("con4", "regression", "p99_ttft", gates=False)
    case = CaseReport("c", "r", "regression", rulings=(ruling, reported), loads=(Load("con4", "regression", {}),))
    text = Page(page.render(Report("t", "now", (case,)))).text
    for words in ("Median TTFT (ms)", "40.00", "38.00", "-5.3 %", "-7.0 % to -3.0 %", "night", "it is worse", "n = 30"):
        assert words in text
    assert text.count("reported only") == 1


def test_text_of_a_run_is_never_markup(make_run: Make) -> None:
    failure = Failure("GEN_0", "functional", "ready", HOSTILE, evidence=(HOSTILE,))
    made = make_run(HOSTILE, verdict="failed", kind="functional", cause=failure, red=(HOSTILE,), info=HOSTILE,
                    logs={"GEN_0": HOSTILE, "CTX_0": HOSTILE})  # fmt: skip
    case = read_case(made)
    text = page.render(Report(HOSTILE, HOSTILE, (case,), (HOSTILE,)), compare([of_case(case), of_case(case)]))
    found = Page(text)
    assert found.open == []
    assert {tag for tag, _ in found.found} & {"script", "img"} == set()
    assert not [name for _, attributes in found.found for name in attributes if name.startswith("on")]
    assert found.text.count("<script>alert(1)</script>") > 8


def test_figures_take_the_colours_of_the_page(make_run: Make) -> None:
    case = read_case(make_run())
    drawn = [render_svg(figure, number) for number, figure in enumerate(figures_of(case))]
    assert [figure.kind for figure in figures_of(case)] == ["curve", "latency", "timeline"]
    for text in drawn:
        assert ElementTree.fromstring(text).tag == "svg"
        assert "var(--c-" in text
        assert not [colour for colour in COLOURS.values() if colour in text]
        assert "sans-serif" in text or "<text" in text
    css = page.render(Report("t", "now", ())).partition("</style>")[0]
    light, dark = css.split("prefers-color-scheme: dark")
    for name in COLOURS:
        assert f"--c-{name}:" in light
        assert f"--c-{name}:" in dark


def test_names_are_no_mathematics(make_run: Make) -> None:
    text = page.render(report(make_run, case="a$x_1$b"))
    assert "a$x_1$b" in text


def test_the_history_figure_says_what_it_shows() -> None:
    points = tuple(Past(1_795_000_000_000 + day * 86_400_000, 100.0 + day % 3) for day in range(10))
    plot = HistoryPlot("con4", "median_ttft", points, (Level(0, 8, 101.0),), (None, 107.0), 104.0)
    case = CaseReport("c", "r", "pass", history=(plot,))
    text = render_svg(figures_of(case)[0], 1)
    for words in ("passes", "stable segment", "baseline", "history", "this run", "ms, lower is better"):
        assert words in text
    assert figures_of(case)[0].caption == "History of con4: Median TTFT (ms)"


def test_without_matplotlib_the_page_has_all_but_figures(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*sys.modules]:
        if name.partition(".")[0] == "matplotlib":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    text = page.render(report(make_run))
    assert "<svg" not in text
    assert "pip install &#39;pytest-disagg[report]&#39;" in text
    assert "con8" in text


def test_without_jinja_it_says_what_to_install(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(UsageError, match=r"pip install 'pytest-disagg\[report\]'"):
        page.render(report(make_run))


@pytest.mark.parametrize(
    ("value", "text"),
    [(12906.24, "12\u202f906"), (179.525, "179.5"), (44.55, "44.55"), (5.4326, "5.433"), (0.01234, "0.0123"), (0, "0")],
)
def test_numbers(value: float, text: str) -> None:
    assert short(value) == text


@pytest.mark.parametrize(("value", "text"), [(2.24, "+2.2 %"), (-0.01, "0.0 %"), (0.0, "0.0 %"), (-53.0, "-53.0 %")])
def test_percent(value: float, text: str) -> None:
    assert percent(value) == text
