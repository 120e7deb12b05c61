"""Pages of a PDF: flowing text and tables, and figures in two columns, drawn by matplotlib."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pytest_disagg.report.figures.choice import Planned
from pytest_disagg.report.figures.style import GRID, INK, MUTED, WIDTH_IN

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.layout_engine import LayoutEngine

PAGE_IN = (11.69, 8.27)
"""A4, landscape: two figures of the common width stand side by side at their own size."""
MARGIN_IN = 0.5
COLUMNS = 2
_LEADING = 1.45
_EM_OF_CHARACTER = {"sans": 0.57, "mono": 0.602}
"""Mean width of a character of DejaVu Sans, and of every one of DejaVu Sans Mono."""
_TITLE_IN = 0.3


@dataclass(frozen=True)
class Column:
    """A column of a table: its title, its width in inches, and whether it holds numbers."""

    title: str
    width_in: float
    right: bool = False


class Book:
    """A PDF that is being written; a context manager, inside :func:`.figures.style.style`.

    Text flows from page to page. ``close`` numbers nothing: a viewer does that.
    """

    def __init__(self, path: Path, title: str) -> None:
        from matplotlib.backends.backend_pdf import PdfPages

        self._pdf: Any = PdfPages(path, metadata={"Title": title, "Creator": "pytest-disagg", "CreationDate": None})
        self._title = title
        self._figure: Figure | None = None
        self._y = 0.0

    def __enter__(self) -> Book:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_page()
        self._pdf.close()

    @property
    def width_in(self) -> float:
        return PAGE_IN[0] - 2 * MARGIN_IN

    def new_page(self) -> None:
        """What comes next begins a page."""
        self._end_page()

    def space(self, inches: float) -> None:
        self._y += inches

    def text(
        self,
        text: str,
        *,
        size: float = 9.0,
        colour: str = INK,
        bold: bool = False,
        mono: bool = False,
        indent_in: float = 0.0,
    ) -> None:
        """A paragraph, wrapped; line breaks in it are kept."""
        lines = [line for part in text.split("\n") for line in wrapped(part, self.width_in - indent_in, size, mono)]
        for line in lines:
            self._need(_height_in(size))
            self._put(line, MARGIN_IN + indent_in, size, colour=colour, bold=bold, mono=mono)
            self._y += _height_in(size)

    def table(self, columns: Sequence[Column], rows: Sequence[Sequence[str]], *, size: float = 8.0) -> None:
        """Rows under their titles, which are repeated on each page; long cells are wrapped."""
        self._row(columns, [column.title for column in columns], size, head=True)
        for row in rows:
            cells = _cells(columns, row, size)
            if self._full(max(map(len, cells)) * _height_in(size)):
                self._end_page()
                self._row(columns, [column.title for column in columns], size, head=True)
            self._row(columns, row, size)
        self.space(0.12)

    def _row(self, columns: Sequence[Column], row: Sequence[str], size: float, *, head: bool = False) -> None:
        cells = _cells(columns, row, size)
        height = max(map(len, cells)) * _height_in(size) + 0.05
        self._need(height)
        x = MARGIN_IN
        for column, lines in zip(columns, cells, strict=True):
            top = self._y
            for line in lines:
                place = x + column.width_in - 0.1 if column.right else x
                self._put(line, place, size, colour=MUTED if head else INK, bold=head, right=column.right)
                self._y += _height_in(size)
            self._y, x = top, x + column.width_in
        self._y += height
        self._line(x - MARGIN_IN)

    def figures(self, title: str, planned: Sequence[Planned]) -> None:
        """Draw them in two columns, as many to a page as fit; each page says ``title``."""
        for page in pages(planned):
            self._end_page()
            figure = self._begin_page(within_margins())
            heights = [_TITLE_IN, *(height for row in page for height in (_TITLE_IN, _strip(row)))]
            rest = PAGE_IN[1] - 2 * MARGIN_IN - sum(heights)
            strips: Any = figure.subfigures(len(heights) + 1, 1, height_ratios=[*heights, max(rest, 0.01)])
            _headline(strips[0], wrapped(title, self.width_in, 11, mono=False)[0], 11)
            for captions, drawings, row in zip(strips[1:-1:2], strips[2:-1:2], page, strict=True):
                titles, places = (strip.subfigures(1, COLUMNS) for strip in (captions, drawings))
                for caption, place, each in zip(titles, places, row, strict=False):
                    _headline(caption, wrapped(each.caption, WIDTH_IN, 9, mono=False)[0], 9)
                    # A strip is as high as its highest figure; a lower one keeps its own height.
                    ratios = [each.height_in, max(_strip(row) - each.height_in, 0.01)]
                    each.draw(place.subfigures(2, 1, height_ratios=ratios)[0])
            self._end_page()

    def _put(
        self, text: str, x: float, size: float, *, colour: str, bold: bool, mono: bool = False, right: bool = False
    ) -> None:
        figure = self._figure or self._begin_page()
        figure.text(
            x / PAGE_IN[0],
            1 - (self._y + _height_in(size) * 0.75) / PAGE_IN[1],
            text,
            fontsize=size,
            color=colour,
            weight="bold" if bold else "normal",
            family="monospace" if mono else "sans-serif",
            ha="right" if right else "left",
        )

    def _line(self, width_in: float) -> None:
        from matplotlib.lines import Line2D

        figure = self._figure or self._begin_page()
        y = 1 - (self._y - 0.02) / PAGE_IN[1]
        left, right = MARGIN_IN / PAGE_IN[0], (MARGIN_IN + width_in) / PAGE_IN[0]
        figure.add_artist(Line2D([left, right], [y, y], color=GRID, linewidth=0.6))

    def _full(self, height_in: float) -> bool:
        return self._figure is not None and self._y + height_in > PAGE_IN[1] - MARGIN_IN

    def _need(self, height_in: float) -> None:
        if self._full(height_in):
            self._end_page()
        if self._figure is None:
            self._begin_page()

    def _begin_page(self, layout: LayoutEngine | None = None) -> Figure:
        from matplotlib.figure import Figure

        self._figure = Figure(figsize=PAGE_IN, layout=layout)
        self._y = MARGIN_IN
        return self._figure

    def _end_page(self) -> None:
        if self._figure is not None:
            self._pdf.savefig(self._figure)
        self._figure = None


def within_margins() -> LayoutEngine:
    """What places figures on a page."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    x, y = MARGIN_IN / PAGE_IN[0], MARGIN_IN / PAGE_IN[1]
    return ConstrainedLayoutEngine(rect=(x, y, 1 - 2 * x, 1 - 2 * y))


def _headline(place: SubFigure, text: str, size: float) -> None:
    place.text(0.0, 0.35, text, fontsize=size, weight="bold")


def pages(planned: Sequence[Planned]) -> list[list[list[Planned]]]:
    """Pages of rows of figures. Rows keep the order; one that is too high for a page has it for itself."""
    rows = [list(planned[start : start + COLUMNS]) for start in range(0, len(planned), COLUMNS)]
    found: list[list[list[Planned]]] = []
    room = 0.0
    for row in rows:
        height = _strip(row) + _TITLE_IN
        if not found or height > room:
            found.append([])
            room = PAGE_IN[1] - 2 * MARGIN_IN - _TITLE_IN
        found[-1].append(row)
        room -= height
    return found


def wrapped(text: str, width_in: float, size: float, mono: bool) -> list[str]:
    """The lines of a text that is ``width_in`` inches wide; one empty line for no text."""
    characters = int(width_in * 72 / (size * _EM_OF_CHARACTER["mono" if mono else "sans"]))
    return textwrap.wrap(text, max(characters, 8), replace_whitespace=False, drop_whitespace=not mono) or [""]


def _cells(columns: Sequence[Column], row: Collection[str], size: float) -> list[list[str]]:
    return [wrapped(text, column.width_in - 0.1, size, mono=False) for column, text in zip(columns, row, strict=True)]


def _strip(row: Sequence[Planned]) -> float:
    return max(each.height_in for each in row)


def _height_in(size: float) -> float:
    return size * _LEADING / 72
