"""Figures as SVG elements inside a page: no namespaces, unique ids, the page's own colours and font."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from pytest_disagg.report.figures.style import COLOURS, WIDTH_IN, style

if TYPE_CHECKING:
    from pytest_disagg.report.figures.choice import Planned

_VARIABLES = {colour: f"var(--c-{name})" for name, colour in COLOURS.items()}
_COLOUR = re.compile("|".join(_VARIABLES))
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_LINK = "{http://www.w3.org/1999/xlink}href"
_DROPPED = {"metadata", "style", "title"}


def render(planned: Planned, number: int) -> str:
    """``planned`` as an ``<svg>`` element; ``number`` tells its ids from those of the page's other figures.

    Raises:
        ImportError: matplotlib is not installed (extra ``report``).
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=(WIDTH_IN, planned.height_in), layout="constrained")
        FigureCanvasSVG(figure)
        planned.draw(figure)
        file = io.BytesIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(file.getvalue())
    _adapt(root, f"f{number}-")
    root.attrib.pop("width", None)
    root.attrib.pop("height", None)
    root.set("role", "img")
    root.set("aria-label", planned.caption)
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def _adapt(element: ElementTree.Element, prefix: str) -> None:
    element.tag = element.tag.rpartition("}")[2]
    link = element.attrib.pop(_LINK, None)
    if link is not None:
        element.set("href", f"#{prefix}{link.removeprefix('#')}")
    for name, value in element.attrib.items():
        if name == "id":
            element.set("id", prefix + value)
        elif name in ("style", "fill", "stroke", "clip-path"):
            value = _REFERENCE.sub(lambda found: f"url(#{prefix}{found[1]})", value)
            element.set(name, _COLOUR.sub(lambda found: _VARIABLES[found[0]], value))
    for child in [child for child in element if child.tag.rpartition("}")[2] in _DROPPED]:
        element.remove(child)
    for child in element:
        _adapt(child, prefix)
