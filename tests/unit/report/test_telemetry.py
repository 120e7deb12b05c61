"""The figure of what was sampled: its curves and the windows in which loads were measured."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from pytest_disagg.records import record as records
from pytest_disagg.report import page
from pytest_disagg.report.figures.choice import TELEMETRY, figures_of
from pytest_disagg.report.figures.style import WIDTH_IN, style
from pytest_disagg.report.figures.telemetry import draw, height_in
from pytest_disagg.report.model import Measured, Panel, Report, TelemetryPlot
from pytest_disagg.report.read import read_case
from pytest_disagg.report.svg import render
from pytest_disagg.report.telemetry import MAX_BINS, MAX_NODES, telemetry_of
from pytest_disagg.rundir.files import to_json, write_text
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.telemetry.reading import Sample, Source, append, path_of, windows_of
from tests.unit.report.conftest import CREATED_MS, Make

BEGIN = CREATED_MS / 1000


def sample(second: float, kind: str, source: Source, name: str = "", node: str = "n1", **values: float) -> Sample:
    return Sample(second, BEGIN + second, node, kind, source, name, values)


def keep(results: Path, role: str, samples: list[Sample]) -> None:
    path = path_of(results, role)
    path.parent.mkdir(parents=True, exist_ok=True)
    append(path, samples)


def test_gpus_of_a_kind_share_a_line_and_every_host_has_its_own(tmp_path: Path) -> None:
    for role, kind, node in (("GEN_0", "gen", "n1"), ("GEN_1", "gen", "n2"), ("CTX_0", "ctx", "n2")):
        scale = 2 if role == "GEN_1" else 1
        gpus = [sample(s, kind, "gpu", "0", node, util_percent=40 * scale, power_w=500) for s in range(5)]
        keep(tmp_path, role, [*gpus, *(sample(s, kind, "host", "", node, cpu_percent=10 * scale) for s in range(5))])
    plot, problems = telemetry_of(tmp_path)
    assert problems == []
    assert plot is not None
    panels = {panel.title: panel for panel in plot.panels}
    assert list(panels) == ["GPU utilisation", "Power per GPU", "Host CPU"]
    utilisation = panels["GPU utilisation"].lines
    assert list(utilisation) == ["CTX", "GEN"]
    assert [value for _, value in utilisation["GEN"]] == [60.0] * 5
    assert set(panels["Host CPU"].lines) == {"n1", "n2"}


def test_hosts_of_a_large_run_are_drawn_by_kind(tmp_path: Path) -> None:
    for number in range(MAX_NODES + 1):
        hosts = [sample(s, "gen", "host", "", f"n{number}", cpu_percent=number) for s in range(3)]
        keep(tmp_path, f"GEN_{number}", hosts)
    plot, _ = telemetry_of(tmp_path)
    assert plot is not None
    (panel,) = plot.panels
    assert list(panel.lines) == ["GEN"]
    assert [value for _, value in panel.lines["GEN"]] == [MAX_NODES / 2] * 3


def test_a_long_run_has_no_more_points_than_can_be_seen(tmp_path: Path) -> None:
    keep(tmp_path, "BENCHMARK", [sample(s, "client", "process", cpu_percent=s) for s in range(10 * MAX_BINS)])
    plot, _ = telemetry_of(tmp_path)
    assert plot is not None
    line = plot.panels[0].lines["client"]
    assert len(line) <= MAX_BINS + 1
    assert line[0][1] == pytest.approx(0.01 * sum(range(10)) / 10, rel=0.2)


def test_servers_sampled_at_different_moments_share_the_points_of_a_line(tmp_path: Path) -> None:
    for role, offset_s, value in (("GEN_0", 0.0, 100.0), ("GEN_1", 0.5, 300.0)):
        keep(tmp_path, role, [sample(s + offset_s, "gen", "process", cpu_percent=value) for s in range(6)])
    plot, _ = telemetry_of(tmp_path)
    assert plot is not None
    assert [value for _, value in plot.panels[0].lines["GEN"]] == pytest.approx([2.0] * 6)


def test_engines_are_drawn_where_they_had_anything_to_do(tmp_path: Path) -> None:
    series = [{"vllm:num_requests_running": float(s), "vllm:num_requests_waiting": 0.0} for s in (1, 2)]
    running = [Sample(s, BEGIN + s, "n1", "gen", "engine", "", values) for s, values in enumerate(series)]
    keep(tmp_path, "GEN_0", running)
    plot, _ = telemetry_of(tmp_path)
    assert plot is not None
    assert [panel.title for panel in plot.panels] == ["Requests running per server"]


def test_what_lies_far_from_the_loads_is_not_drawn(tmp_path: Path) -> None:
    keep(tmp_path, "GEN_0", [sample(s, "gen", "gpu", "0", util_percent=s) for s in range(1000)])
    windows = [{"point": "con1", "epoch_s": BEGIN + s, "duration_s": 20} for s in (700, 780)]
    write_text(windows_of(tmp_path), to_json({"windows": windows}))
    plot, _ = telemetry_of(tmp_path)
    assert plot is not None
    values = [value for _, value in plot.panels[0].lines["GEN"]]
    assert (values[0], values[-1]) == (685, 815)


def test_a_load_shorter_than_the_interval_has_a_line(tmp_path: Path) -> None:
    keep(tmp_path, "GEN_0", [sample(s, "gen", "gpu", "0", util_percent=1) for s in range(0, 1000, 10)])
    write_text(windows_of(tmp_path), to_json({"windows": [{"point": "p", "epoch_s": BEGIN + 502, "duration_s": 1}]}))
    plot, _ = telemetry_of(tmp_path)
    assert plot is not None
    assert len(plot.panels[0].lines["GEN"]) == 10


@pytest.mark.parametrize(
    ("starts", "named"),
    [
        ((0, 100, 200, 300), ["load_0", "load_1", "load_2", "load_3"]),
        # They begin close to each other, and the whole axis is a hundred times as long.
        ((0, 1, 2, 300), ["load_0", "load_3"]),
    ],
)
def test_names_of_loads_do_not_lie_upon_each_other(starts: tuple[float, ...], named: list[str]) -> None:
    measured = tuple(Measured(f"load_{number}", start, start + 1) for number, start in enumerate(starts))
    plot = TelemetryPlot((Panel("GPU", "%", {"GEN": [(-50.0, 1.0), (350.0, 2.0)]}),), measured)
    figure = Figure()
    draw(figure, plot, 0.0)
    assert [text.get_text() for text in figure.axes[0].texts] == named


@pytest.mark.parametrize("hosts", [1, 3, MAX_NODES])
def test_the_legend_fits_into_the_figure(hosts: int) -> None:
    labels = ["CTX", "GEN", "coordinator", "client", *(f"gb200-rack1-{number:02}" for number in range(hosts))]
    plot = TelemetryPlot((Panel("Host CPU", "%", {label: [(0.0, 1.0), (1.0, 2.0)] for label in labels}),))
    with style():
        figure = Figure(figsize=(WIDTH_IN, height_in(plot)), layout="constrained")
        draw(figure, plot, 0.0)
        figure.draw_without_rendering()
        (legend,) = figure.legends
        assert legend.get_window_extent().width <= figure.bbox.width
        # The panel keeps most of its inch.
        assert figure.axes[0].get_window_extent().height > 0.6 * figure.dpi


def test_a_run_without_samples_has_no_figure(make_run: Make) -> None:
    case = read_case(make_run())
    assert case.telemetry is None
    assert TELEMETRY not in [figure.kind for figure in figures_of(case)]


def test_the_page_has_the_figure_with_its_loads(make_run: Make) -> None:
    folder = make_run(concurrencies=(4,))
    keep(folder / "results", "GEN_0", [sample(s / 4, "gen", "gpu", "0", util_percent=10 * s) for s in range(10)])
    window = {"point": "con4 <b>", "epoch_s": BEGIN + 1, "duration_s": 0.5}
    write_text(windows_of(folder / "results"), to_json({"windows": [window]}))
    case = read_case(folder)
    assert case.telemetry is not None
    assert [(each.label, each.end_s - each.start_s) for each in case.telemetry.measured] == [("con4 <b>", 0.5)]
    figure = next(figure for figure in figures_of(case) if figure.kind == TELEMETRY)
    text = render(figure, 1)
    words = "".join(ElementTree.fromstring(text).itertext())
    for word in ("GPU utilisation (%)", "con4 <b>", "GEN"):
        assert word in words
    assert "GPUs, hosts and engines" in page.render(Report("r", "now", (case,)))


def test_what_was_joined_stands_beside_the_metrics_of_a_load(make_run: Make) -> None:
    folder = make_run(concurrencies=(4,))
    rundir = RunDir(folder)
    (found,) = records.read(rundir.records)
    rundir.records.unlink()
    records.append(rundir.records, [{**found, "d_tm_gpu_util_percent_mean": 71.5}])
    case = read_case(folder)
    assert case.loads[0].metrics["tm_gpu_util_percent_mean"] == 71.5
    assert case.loads[0].metrics["token_throughput"] == 1000
    assert "tm_gpu_util_percent_mean" in page.render(Report("r", "now", (case,)))


@pytest.mark.parametrize("text", ["{", "[]", '{"windows": [{"point": 1}]}', '{"windows": 3}'])
def test_windows_that_cannot_be_read_are_named(tmp_path: Path, text: str) -> None:
    keep(tmp_path, "GEN_0", [sample(s, "gen", "process", cpu_percent=1) for s in (1, 2)])
    windows_of(tmp_path).write_text(text)
    plot, problems = telemetry_of(tmp_path)
    assert plot is not None
    assert plot.measured == ()
    assert len(problems) == 1
    assert problems[0].startswith("windows.json: ")
