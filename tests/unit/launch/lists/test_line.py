"""Every form of a line of a text list."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_disagg.errors import ConfigError
from pytest_disagg.launch.lists.line import Line, parse_line
from pytest_disagg.launch.lists.markers import Markers
from pytest_disagg.launch.lists.textlist import parse_text

NODE = "perf/test_perf_sanity.py::test_e2e[disagg_upload-gen_only-gb200_x_ccb-UCX]"
LIST = Path("list.txt")


@pytest.mark.parametrize(
    ("text", "target", "markers"),
    [
        (NODE, NODE, Markers()),
        (f"  {NODE}  ", NODE, Markers()),
        (f"{NODE} TIMEOUT (120)", NODE, Markers(timeout_min=120)),
        (f"{NODE} TIMEOUT(60) # slow", NODE, Markers(timeout_min=60)),
        (f"{NODE} SKIP", NODE, Markers(skip="")),
        (f"{NODE} SKIP (https://nvbugs/5#c2)", NODE, Markers(skip="https://nvbugs/5#c2")),
        (f"{NODE} XFAIL (wrong (see 7)) # why", NODE, Markers(xfail="wrong (see 7)")),
        (f"{NODE} ISOLATION", NODE, Markers(isolated=True)),
        (f"{NODE} ISOLATION (own node)", NODE, Markers(isolated=True)),
        (f"{NODE} UNSTABLE (flaky)", NODE, Markers(unstable="flaky")),
        (f"{NODE} TIMEOUT (60) XFAIL (x)", NODE, Markers(timeout_min=60, xfail="x")),
        (f"{NODE}\tTIMEOUT\t(60)", NODE, Markers(timeout_min=60)),
        (f"{NODE}# why", NODE, Markers()),
        ("disagg-e2e-x", "disagg-e2e-x", Markers()),
        ("gb200_SKIP_x", "gb200_SKIP_x", Markers()),
        ("cases/my case.yaml SKIP (x)", "cases/my case.yaml", Markers(skip="x")),
        ("t.py::t[a SKIP b] SKIP", "t.py::t[a SKIP b]", Markers(skip="")),
    ],
)
def test_a_line(text: str, target: str, markers: Markers) -> None:
    assert parse_line(text, LIST, 1) == Line(target, markers)


def test_a_scope() -> None:
    assert parse_line(f"full:GB200/{NODE} SKIP (x)", LIST, 1) == Line(NODE, Markers(skip="x"), "GB200")


@pytest.mark.parametrize("text", ["", "   ", "# disabled", "  # disagg-e2e-x TIMEOUT (5)"])
def test_no_line(text: str) -> None:
    assert parse_line(text, LIST, 1) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x SKPI (y)", "list.txt:3: found 'SKPI', expected one of the markers XFAIL, SKIP,"),
        ("x SKPI (y)", "did you mean 'SKIP'?"),
        ("x timeout (5)", "did you mean 'TIMEOUT'?"),
        ("x SKIP because", "found 'because', expected one of XFAIL, SKIP, UNSTABLE, TIMEOUT, ISOLATION (a reason"),
        ("x TIMEOUT", "found 'TIMEOUT', expected TIMEOUT (n) with whole minutes of at least 1"),
        ("x TIMEOUT (1h)", "found 'TIMEOUT (1h)', expected TIMEOUT (n)"),
        ("x TIMEOUT (0)", "found 'TIMEOUT (0)', expected TIMEOUT (n)"),
        ("x SKIP ()", "found 'SKIP ()', expected a reason in the parentheses"),
        ("x SKIP (a", "found 'SKIP (a', expected a closing parenthesis"),
        ("x SKIP (a) SKIP (b)", "found 'SKIP again', expected each marker once"),
        (" SKIP (a)", "expected a test id, a config name or a file before the marker"),
        ("full:GB200 SKIP (a)", "found 'full:GB200', expected full:<scope>/<test id>"),
        ("x ${skipIf(True, 'y')}", "a Mako template has to be rendered first"),
        ("% if x:", "a Mako template has to be rendered first"),
    ],
)
def test_a_wrong_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_line(text, LIST, 3)
    assert message in str(error.value)


def test_all_wrong_lines_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        parse_text("a FOO\nb\n\nc TIMEOUT\n", LIST)
    assert [problem.line for problem in error.value.problems] == [1, 4]


def test_markers_lie_over_others() -> None:
    below = Markers(timeout_min=5, xfail="old")
    assert Markers(skip="", xfail="new").over(below) == Markers(timeout_min=5, skip="", xfail="new")
    assert str(Markers(5, "", "why", None, True)) == "TIMEOUT (5) SKIP XFAIL (why) ISOLATION"
