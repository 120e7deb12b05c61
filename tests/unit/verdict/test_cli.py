"""``disagg verdict``: segments, check, explain, accept, with their exit codes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_disagg.cli.main import main
from pytest_disagg.records.record import append
from pytest_disagg.verdict.accepted import load
from tests.unit.verdict.series import DAY_MS, FIRST_MS, Record, noise, record, records

CLEAN = records(noise(30))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DISAGG_HISTORY", "PERF_BASELINE_BRANCH", "OPENSEARCH_URL", "OPEN_SEARCH_DB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def files(tonight: Sequence[Record], history: Sequence[Record] = CLEAN) -> list[str]:
    append(Path("records.jsonl"), tonight)
    append(Path("history.jsonl"), history)
    return ["records.jsonl", "--history", "history.jsonl"]


def lost(count: int = 3) -> list[Record]:
    return [record(40, 94.0, l_repeat=index) for index in range(count)]


def test_segments_prints_indexes(capsys: pytest.CaptureFixture[str]) -> None:
    values = [*noise(30), *noise(20, level=90, seed=2)]
    Path("s.json").write_text(json.dumps({"values": values}), encoding="utf-8")
    assert main(["verdict", "segments", "s.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"changepoints": [30]}
    assert main(["verdict", "segments", "s.json"]) == 0
    out = capsys.readouterr().out
    assert "[0, 30): mean 100" in out
    assert out.endswith("1 change points in 50 values\n")


def test_segments_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Path("s.csv").write_text("", encoding="utf-8")
    assert main(["verdict", "segments", "s.csv", "--json"]) == 0
    assert capsys.readouterr().out == '{"changepoints": []}\n'
    assert main(["verdict", "segments", "none.csv"]) == 4
    assert "none.csv: found No such file" in capsys.readouterr().err


def test_check_is_red_for_a_regression(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verdict", "check", *files(lost())]) == 1
    out = capsys.readouterr().out
    assert "regression: disagg-e2e-x/con8: token_throughput 94" in out
    assert out.endswith("verdict: regression\n")


def test_check_passes_and_is_invalid(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verdict", "check", *files([record(40, 100.0)])]) == 0
    assert capsys.readouterr().out.endswith("verdict: pass\n")
    append(Path("bad.jsonl"), [record(41, 1.0, b_is_valid=False)])
    assert main(["verdict", "check", "bad.jsonl", "--history", "history.jsonl"]) == 6


def test_without_a_history_nothing_is_a_pass(capsys: pytest.CaptureFixture[str]) -> None:
    append(Path("records.jsonl"), [record(40, 100.0)])
    assert main(["verdict", "check", "records.jsonl"]) == 0
    assert capsys.readouterr().out.endswith("verdict: insufficient-history\n")


def test_explain_prints_the_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verdict", "explain", *files(lost()), "--point", "con8", "--metric", "d_token_throughput"]) == 0
    out = capsys.readouterr().out
    for part in (
        "disagg-e2e-x/con8 token_throughput: regression",
        "smallest effect 3 %, gates",
        "measured 94, 94, 94",
        "last good: run run29",
        "first bad: this run",
        "method night: loss +6",
    ):
        assert part in out, part
    assert main(["verdict", "explain", *files([]), "--point", "con9"]) == 4
    assert "expected one of: con8 token_throughput" in capsys.readouterr().err


@pytest.mark.parametrize("tool", ["native", "aiperf"])
def test_accept_makes_it_green(capsys: pytest.CaptureFixture[str], tool: str) -> None:
    history = [*CLEAN, *records(noise(6, level=94, seed=2), first=30)]
    arguments = files(*([{**each, "s_client_tool": tool} for each in found] for found in (lost(), history)))
    assert main(["verdict", "check", *arguments]) == 1
    assert main(["verdict", "accept", *arguments, "--reason", "slower sampler", "--by", "ann"]) == 0
    (accepted,) = load(Path("test_configs/baselines/accepted.yaml"))
    assert (accepted.metric, accepted.point, accepted.by) == ("token_throughput", "con8", "ann")
    assert accepted.since_ms == FIRST_MS + 30 * DAY_MS
    capsys.readouterr()
    assert main(["verdict", "check", *arguments]) == 0


def test_accept_needs_a_regression_and_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = files([record(40, 100.0)])
    assert main(["verdict", "accept", *arguments, "--reason", "x"]) == 4
    assert "found no regression to accept" in capsys.readouterr().err
    assert main(["verdict", "accept", *arguments, "--reason", " "]) == 4
    assert not Path("test_configs").exists()
