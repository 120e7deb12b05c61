"""Lines to cases: filters, waives, bounds, duplicates, and lines that mean no case."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_disagg.cli.run import add_parser
from pytest_disagg.cli.run_lists import CaseLoader
from pytest_disagg.config.cluster import Cluster
from pytest_disagg.errors import ConfigError
from pytest_disagg.launch.lists.entry import Entry
from pytest_disagg.launch.lists.keyword import parse_keyword
from pytest_disagg.launch.lists.markers import Markers
from pytest_disagg.launch.lists.read import read_waives
from pytest_disagg.launch.lists.select import Filters, Selection, select
from pytest_disagg.launch.lists.textlist import parse_text
from pytest_disagg.launch.lists.waives import Waives, in_scope, platform_of

LIST = Path("list.txt")
SPEC = (Path(__file__).resolve().parents[4] / "../shared/spec/trtllm-configs").resolve()
DISAGG: dict[str, Any] = {
    "engine": "sim",
    "cases": ["disagg-e2e", "disagg-gen_only", "aggr-ctx_only"],
    "metadata": {"model_name": "m"},
    "slurm": {"timeout": 3600},
    "benchmark": {"concurrency_list": "1", "input_length": 8, "output_length": 8, "multi_round": 1},
    "hardware": {"gpus_per_node": 4, "num_ctx_servers": 1, "num_gen_servers": 1},
    "worker_config": {"gen": {"tensor_parallel_size": 4}, "ctx": {"tensor_parallel_size": 4}},
}
AGGR: dict[str, Any] = {
    "engine": "sim",
    "metadata": {"model_name": "m"},
    "hardware": {"gpus_per_node": 4},
    "server_configs": [{"name": name, "client_configs": [{"concurrency": 1}]} for name in ("s1", "s2")],
}


def options_of(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    return parser.parse_args(["run", *words])


@pytest.fixture
def loader(tmp_path: Path) -> CaseLoader:
    for name, content in (("split", DISAGG), ("whole", AGGR), ("broken", {**DISAGG, "hardware": {}})):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return CaseLoader(options_of("--config-dir", str(tmp_path)), Cluster(), {})


def selected(loader: CaseLoader, text: str, **filters: Any) -> Selection:
    return select(parse_text(text, LIST), loader, Filters(**filters))


def names(selection: Selection) -> list[str]:
    return [pick.name for pick in selection.picks]


def test_every_kind_of_target(loader: CaseLoader, tmp_path: Path) -> None:
    lines = (
        "perf/test_perf_sanity.py::test_e2e[disagg_upload-gen_only-split] TIMEOUT (90)",
        "disagg-gen_only_no_context-split",
        "split",
        str(tmp_path / "whole.yaml"),
    )
    assert names(selected(loader, "\n".join(lines))) == [
        "disagg_upload-gen_only-split",
        "disagg-gen_only_no_context-split",
        "disagg-e2e-split",
        "disagg-gen_only-split",
        "aggr-ctx_only-split",
        "aggr-whole-s1",
        "aggr-whole-s2",
    ]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("all", ["disagg-e2e-split", "disagg-gen_only-split", "aggr-ctx_only-split", "aggr-nosuch", "nosuch"]),
        ("disagg", ["disagg-e2e-split", "disagg-gen_only-split", "nosuch"]),
        ("aggr", ["aggr-ctx_only-split", "aggr-nosuch", "nosuch"]),
    ],
)
def test_mode(loader: CaseLoader, mode: str, expected: list[str]) -> None:
    assert names(selected(loader, "split\naggr-nosuch\nnosuch\n", mode=mode)) == expected


@pytest.mark.parametrize(
    ("keyword", "expected"),
    [
        ("gen_only", ["disagg-gen_only-split"]),
        ("not e2e and split", ["disagg-gen_only-split", "aggr-ctx_only-split"]),
        ("whole.yaml", ["aggr-whole-s1", "aggr-whole-s2"]),
        ("nosuch", ["nosuch"]),
        ("test_e2e", []),
    ],
)
def test_keyword(loader: CaseLoader, keyword: str, expected: list[str]) -> None:
    selection = selected(loader, "split\nwhole\nnosuch\n", keyword=parse_keyword(keyword))
    assert names(selection) == expected
    assert selection.left_out == 6 - len(expected)


@pytest.mark.parametrize(
    ("mode", "target", "expected"),
    [
        ("disagg", "split", ["disagg-e2e-split", "disagg-gen_only-split"]),
        ("aggr", "split.yaml", ["aggr-ctx_only-split"]),
        ("gen_only", "split", ["disagg-gen_only-split"]),
        ("ctx_only", "split", ["aggr-ctx_only-split"]),
        ("aggr", "whole", ["aggr-whole-s1", "aggr-whole-s2"]),
    ],
)
def test_modes_of_a_json_list(loader: CaseLoader, mode: str, target: str, expected: list[str]) -> None:
    assert names(select([Entry(target, LIST, 1, mode=mode)], loader, Filters())) == expected


@pytest.mark.parametrize(
    ("mode", "target", "message"),
    [
        ("disagg", "whole", "list.txt:1: mode: found 'disagg', but whole gives aggr-whole-s1, aggr-whole-s2"),
        ("gen_only", "disagg-e2e-split", "found 'gen_only' beside a test id, expected no mode"),
        ("gen_only", "whole", "for this id a disaggregated file"),
    ],
)
def test_wrong_modes_of_a_json_list(loader: CaseLoader, mode: str, target: str, message: str) -> None:
    (pick,) = select([Entry(target, LIST, 1, mode=mode)], loader, Filters()).picks
    assert message in pick.problem


def test_a_line_that_means_no_case_is_kept_with_its_problem(loader: CaseLoader) -> None:
    selection = selected(loader, "broken\nperf/test_perf.py::test_perf[llama-bench]\nsplit\n")
    assert [bool(pick.problem) for pick in selection.picks] == [True, True, False, False, False]
    assert "hardware.gpus_per_node" in selection.picks[0].problem
    assert selection.picks[1].name == "llama-bench"


def test_a_target_of_the_command_line_that_means_no_case(loader: CaseLoader) -> None:
    with pytest.raises(ConfigError, match="no such config file"):
        select([Entry("nosuch")], loader, Filters())


def test_a_case_twice_runs_once(loader: CaseLoader) -> None:
    selection = selected(loader, "disagg-e2e-split TIMEOUT (50)\nx.py::test[disagg-e2e-split] TIMEOUT (5)\n")
    assert names(selection) == ["disagg-e2e-split"]
    assert selection.picks[0].markers.timeout_min == 50
    assert selection.notes == ("list.txt:2: disagg-e2e-split again, first at list.txt:1: it runs once",)


@pytest.mark.parametrize(("minutes", "total_s", "sets"), [(30, 1800.0, ("slurm.timeout=1800",)), (90, 3600.0, ())])
def test_timeout_bounds_the_run_and_never_widens_it(
    loader: CaseLoader, minutes: int, total_s: float, sets: Sequence[str]
) -> None:
    (pick,) = selected(loader, f"disagg-e2e-split TIMEOUT ({minutes})").picks
    assert pick.case is not None
    assert pick.case.total_s == total_s
    assert loader.bounds.get(pick.name, ()) == sets


def test_a_timeout_that_does_not_fit_names_both_sides(loader: CaseLoader, tmp_path: Path) -> None:
    content = {**DISAGG, "timeouts": {"ready_s": 300}}
    (tmp_path / "tight.yaml").write_text(yaml.safe_dump(content))
    (pick,) = selected(loader, "disagg-e2e-tight TIMEOUT (2)").picks
    assert pick.case is None
    assert "slurm.timeout: found 120 s, expected at least" in pick.problem
    assert "timeouts.ready_s 300 s" in pick.problem
    assert "(set by TIMEOUT (2))" in pick.problem


def waives(folder: Path, text: str, platform: str | None = None) -> Waives:
    path = folder / "waives.txt"
    path.write_text(text)
    return Waives(read_waives([path]), platform)


def test_waives_lie_over_the_list(loader: CaseLoader, tmp_path: Path) -> None:
    node = "perf/test_perf_sanity.py::test_e2e"
    given = waives(tmp_path, f"{node}[disagg-e2e-split] SKIP (bug 7)\n{node}[aggr-nosuch] SKIP\nother.py::test XFAIL\n")
    selection = selected(loader, "split XFAIL (x)\naggr-nosuch", waives=given)
    source = tmp_path / "waives.txt"
    assert [pick.markers for pick in selection.picks] == [
        Markers(skip=f"bug 7, {source}:1", xfail="x"),
        Markers(xfail="x"),
        Markers(xfail="x"),
        Markers(skip=f"waived, {source}:2"),
    ]


@pytest.mark.parametrize(
    ("stage", "scope", "counts"),
    [
        ("GB200-8_GPUs-2_Nodes-PyTorch-Disagg-PerfSanity-1", "GB200", True),
        ("GB200-8_GPUs-2_Nodes-PyTorch-Disagg-PerfSanity-1", "GB200-OCI", True),
        ("GB200-8_GPUs", "B300", False),
        ("B200-8_GPUs", "GB200", False),
        ("sm100-x", "sm100", False),
        (None, "GB200", False),
        (None, None, True),
    ],
)
def test_scopes(stage: str | None, scope: str | None, counts: bool) -> None:
    assert in_scope(scope, platform_of(stage)) is counts


def test_a_waive_of_a_platform(loader: CaseLoader, tmp_path: Path) -> None:
    text = "full:GB200/x.py::test[disagg-e2e-split] SKIP (x)\n"
    for platform, skipped in (("GB200", True), ("B200", False), (None, False)):
        (pick,) = selected(loader, "disagg-e2e-split", waives=waives(tmp_path, text, platform)).picks
        assert (pick.markers.skip is not None) is skipped


def test_a_line_of_a_list_for_another_platform(loader: CaseLoader) -> None:
    text = "full:GB200/disagg-e2e-split\n"
    assert names(selected(loader, text, platform="GB200")) == ["disagg-e2e-split"]
    other = selected(loader, text, platform="B200")
    assert (other.picks, other.left_out) == ((), 1)
    assert other.notes == ("list.txt:1: left out, it is for GB200 only",)


def test_a_waive_without_a_marker(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"waives\.txt:1: found 'x', expected one of the markers"):
        waives(tmp_path, "x\n")


@pytest.mark.skipif(not SPEC.is_dir(), reason="../shared is not here")
def test_lines_of_real_lists(tmp_path: Path) -> None:
    """Every file in every mode it is listed in, under the two hours of TensorRT-LLM's QA lists."""
    stems = [path.stem for path in sorted((SPEC / "disaggregated").glob("*.yaml"))]
    node = "perf/test_perf_sanity.py::test_e2e"
    lines = [f"{node}[disagg_upload-e2e-{stem}] TIMEOUT (120)" for stem in stems]
    lines += [f"{node}[disagg_upload-gen_only-{stem}] TIMEOUT (120)" for stem in stems]
    lines += [f"{node}[aggr_upload-ctx_only-{stem}] TIMEOUT (120)" for stem in stems]
    lines += [f"{node}[aggr_upload-{path.stem}]" for path in sorted((SPEC / "aggregated").glob("*.yaml"))]
    environ = {"AGG_CONFIG_FOLDER": str(SPEC / "aggregated"), "DISAGG_CONFIG_FOLDER": str(SPEC / "disaggregated")}
    selection = selected(CaseLoader(options_of("--engine=sim"), Cluster(), environ), "\n".join(lines))
    assert [pick.problem for pick in selection.picks if pick.problem] == []
    assert len(selection.picks) == len(lines)
    bounded = [pick.case.total_s for pick in selection.picks if pick.case and pick.markers.timeout_min]
    assert len(bounded) == 3 * len(stems)
    assert max(bounded) == 7200.0
