"""Lines of samples: what is written is read, what is broken is passed over."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from pytest_disagg.telemetry.reading import Sample, Source, append, path_of, read

SECRET = "hf_" + "a1B2" * 8


def sample(source: Source = "host", at: float = 1.0, name: str = "", text: str = "", **values: float) -> Sample:
    return Sample(at, 1000.0 + at, "n1", "gen", source, name, values, text)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "GEN_0.jsonl"
    written = [sample(cpu_percent=3.5), sample("gpu", 2.0, "1", util_percent=90.0)]
    for each in written:
        assert append(path, [each]) == path.stat().st_size
    assert list(read(path)) == written
    assert list(read(tmp_path / "CTX_0.jsonl")) == []


def test_a_line_has_the_documented_keys() -> None:
    assert json.loads(sample("gpu", 2.0, "1", power_w=700.0, util_percent=math.nan).line()) == {
        "monotonic_s": 2.0,
        "epoch_s": 1002.0,
        "node": "n1",
        "kind": "gen",
        "source": "gpu",
        "name": "1",
        "values": {"power_w": 700.0},
    }


@pytest.mark.parametrize(
    "broken",
    ['{"monotonic_s": 1.0, "epo', "", "7", "[]", '{"values": {"a": null}}', sample().line().replace("host", "tea")],
)
def test_a_line_that_is_no_sample_is_passed_over(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(f"{sample(at=1.0).line()}{broken.strip()}\n{sample(at=2.0).line()}")
    assert [each.monotonic_s for each in read(path)] == [1.0, 2.0]


def test_engine_values_that_did_not_change_are_filled_in_for_each_server(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    lines = [
        Sample(at, at, "n", kind, "engine", server, values)
        for at, kind, server, values in (
            (1.0, "server", "SERVER_0", {'run{e="0"}': 1.0, "wait": 2.0, "other": 9.0}),
            (1.5, "coordinator", "SERVER_0", {"wait": 3.0}),
            (2.0, "server", "SERVER_0", {"wait": 5.0}),
            (3.0, "server", "SERVER_1", {"wait": 7.0}),
        )
    ]
    append(path, lines)
    assert [dict(each.values) for each in read(path, {"run", "wait"})] == [
        {'run{e="0"}': 1.0, "wait": 2.0},
        {"wait": 3.0},
        {'run{e="0"}': 1.0, "wait": 5.0},
        {"wait": 7.0},
    ]


def test_a_note_holds_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    append(path, [sample("note", text=f"NVML: token {SECRET}")])
    (note,) = read(path)
    assert note.text.startswith("NVML: token")
    assert SECRET not in path.read_text()


def test_each_role_has_its_own_file() -> None:
    assert path_of(Path("results"), "GEN_0") == Path("results/telemetry/GEN_0.jsonl")
