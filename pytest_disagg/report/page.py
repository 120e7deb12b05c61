"""The HTML page: one file without scripts, that loads nothing; all text of a run is escaped."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_disagg.errors import UsageError
from pytest_disagg.report.figures.choice import Planned, comparison_figures, figures_of
from pytest_disagg.report.figures.style import COLOURS, title_of
from pytest_disagg.report.model import FAILED, CaseReport, Report
from pytest_disagg.report.numbers import SLO_TITLES, columns_of, metrics_of, percent, short, slo_cells
from pytest_disagg.rundir.state import stage_order
from pytest_disagg.verdict.types import RED
from pytest_disagg.version import __version__

if TYPE_CHECKING:
    from markupsafe import Markup

    from pytest_disagg.report.compare import Comparison

INSTALL = "pip install 'pytest-disagg[report]'"
NO_FIGURES = f"No figures: matplotlib is not installed ({INSTALL})."
OPEN_CASES = 3
"""Of so many cases all are unfolded; of more only the red ones."""
RED_LINES = 4
"""Of so many reasons for which a case is red the page's head shows the first; its section has all."""
MAX_DOCUMENT_CHARS = 200_000
_GOOD, _WARN = ("pass", "improvement"), ("suspect", "insufficient-history")
_DARK: Mapping[str, str] = {
    "ink": "#f0f6fc",
    "muted": "#9198a1",
    "grid": "#3d444d",
    "paper": "#0d1117",
    "blue": "#4493f8",
    "orange": "#f0883e",
    "green": "#3fb950",
    "red": "#f85149",
    "purple": "#ab7df8",
    "teal": "#39c5cf",
    "yellow": "#d29922",
    "sky": "#1f6feb",
    "grey": "#656c76",
    "pale": "#2f3742",
}


@dataclass(frozen=True)
class Drawn:
    """A figure in the page."""

    kind: str
    caption: str
    svg: Markup


def render(report: Report, comparison: Comparison | None = None) -> str:
    """The page. Without matplotlib it has no figures and says so.

    Raises:
        UsageError: Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise UsageError(f"reports need the extra 'report': {INSTALL} ({error})") from error
    environment = Environment(
        loader=PackageLoader("pytest_disagg.report", "templates"),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        figures=short,
        percent=percent,
        metric_title=title_of,
        slo_cells=slo_cells,
        metrics_of=lambda case: metrics_of(case.loads),
        word_class=lambda word: "good" if word in _GOOD else "warn" if word in _WARN else "",
        effect_class=lambda effect: "" if not effect or abs(effect) < 0.05 else "better" if effect > 0 else "worse",
        local_time=lambda seconds: time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)),
        in_order=lambda stages: sorted(stages.items(), key=lambda stage: stage_order(stage[0])),
    )
    cases = [(f"case-{number}", case) for number, case in enumerate(report.cases, start=1)]
    painter = _Painter(Markup)
    compared = painter.draw(comparison_figures(comparison)) if comparison else []
    figures = {anchor: painter.draw(figures_of(case)) for anchor, case in cases}
    return environment.get_template("page.html.j2").render(
        report=report,
        version=__version__,
        css=Markup(_css()),
        notes=[*report.notes, *([NO_FIGURES] if painter.missing else [])],
        cases=cases,
        bad_cases=[(anchor, case) for anchor, case in cases if case.bad],
        red_words=(*RED, FAILED),
        shown_lines=RED_LINES,
        several_runs=len({case.case for case in report.cases}) < len(cases),
        columns=columns_of(report.cases),
        figures=figures,
        opened={anchor: case.bad or len(cases) <= OPEN_CASES for anchor, case in cases},
        documents={anchor: _documents(case) for anchor, case in cases},
        slo_titles=SLO_TITLES,
        comparison=comparison,
        comparison_figures=compared,
    )


class _Painter:
    """Draws what is planned, numbered through the page; nothing once matplotlib turned out to be missing."""

    def __init__(self, markup: type[Markup]) -> None:
        self._markup = markup
        self._count = 0
        self.missing = False

    def draw(self, planned: Sequence[Planned]) -> list[Drawn]:
        from pytest_disagg.report import svg

        drawn = []
        for figure in planned:
            if self.missing:
                break
            self._count += 1
            try:
                text = svg.render(figure, self._count)
            except ImportError:
                self.missing = True
            else:
                # Made by matplotlib, parsed and serialised again by svg.py: text in it is escaped.
                drawn.append(Drawn(figure.kind, figure.caption, self._markup(text)))
        return drawn


def _css() -> str:
    text = (Path(__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")
    for word, colours in (("LIGHT_COLOURS", COLOURS), ("DARK_COLOURS", _DARK)):
        text = text.replace(word, "  " + " ".join(f"--c-{name}: {value};" for name, value in colours.items()))
    return re.sub(r"\n\s*", "\n", text)


def _documents(case: CaseReport) -> dict[str, str]:
    return {name: _json(value) for name, value in case.documents.items() if value}


def _json(value: Any) -> str:
    text = json.dumps(value, indent=1)
    return text if len(text) <= MAX_DOCUMENT_CHARS else f"{text[:MAX_DOCUMENT_CHARS]}\n... (cut)"
