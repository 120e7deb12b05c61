"""accepted.yaml: reading it, its mistakes, and adding to it without touching anything else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_disagg.errors import ConfigError, UsageError
from pytest_disagg.records.points import group
from pytest_disagg.verdict.accepted import Acceptance, append, find, load, newest
from tests.unit.verdict.series import record

ONE = Acceptance(
    date="2026-11-21",
    case="disagg-e2e-x",
    point="con8",
    metric="token_throughput",
    since_ms=1789000000000,
    reason='slower sampler: "wanted", #42',
    run="4711",
    commit="0e1234567890",
    by="ann",
)


def test_what_is_added_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "baselines/accepted.yaml"
    added = append(path, [ONE])
    assert load(path) == (ONE,)
    assert added in path.read_text(encoding="utf-8")
    append(path, [replace(ONE, metric="median_ttft"), replace(ONE, point="con16")])
    assert [each.metric for each in load(path)] == ["token_throughput", "median_ttft", "token_throughput"]


def test_comments_and_form_stay(tmp_path: Path) -> None:
    path = tmp_path / "accepted.yaml"
    text = (
        "# reviewed by the performance group\n"
        "accepted:\n"
        "- date: 2026-01-02   # first\n"
        "  case: c\n"
        "  point: con8\n"
        "  metric: d_median_ttft\n"
        "  since: 1\n"
        "  reason: why not"
    )
    path.write_text(text, encoding="utf-8")
    append(path, [ONE])
    after = path.read_text(encoding="utf-8")
    assert after.startswith(text + "\n- {date: 2026-11-21, ")
    assert [(each.metric, each.date) for each in load(path)] == [
        ("median_ttft", "2026-01-02"),
        ("token_throughput", "2026-11-21"),
    ]


def test_a_file_that_nothing_can_be_added_to_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "accepted.yaml"
    path.write_text("accepted: []\n", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot add to it"):
        append(path, [ONE])
    assert path.read_text(encoding="utf-8") == "accepted: []\n"


def test_no_file_accepts_nothing(tmp_path: Path) -> None:
    assert load(tmp_path / "none.yaml") == ()
    assert find([tmp_path]) is None


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{date: 2026-11-21, case: c, point: con8, metric: token_throughput, since: 1}", "accepted.0.reason"),
        ("{date: soon, case: c, point: con8, metric: token_throughput, since: 1, reason: r}", "a date such as"),
        ("{date: 2026-11-21, case: c, point: con8, metric: speed, since: 1, reason: r}", "a metric"),
        ("{date: 2026-11-21, case: c, point: con8, metric: al, since: soon, reason: r}", "epoch milliseconds"),
        ("{date: 2026-11-21, case: c, point: con8, metric: al, since: 1, reson: r}", "did you mean 'reason'"),
        ("words", "a mapping with date, case"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, entry: str, expected: str) -> None:
    path = tmp_path / "accepted.yaml"
    path.write_text(f"accepted:\n  - {entry}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load(path)
    assert expected in str(raised.value)
    assert f"{path}:2" in str(raised.value)


def test_a_key_of_its_own_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "accepted.yaml"
    path.write_text("acepted: []\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="'acepted'"):
        load(path)


def test_which_one_holds() -> None:
    (point,) = group([record(1, 1.0, s_gpu_type="GB200", s_cluster="a")])
    later = replace(ONE, since_ms=ONE.since_ms + 1)
    others = [
        replace(ONE, case="other"),
        replace(ONE, point="con16"),
        replace(ONE, metric="median_ttft"),
        replace(ONE, gpu="H100"),
        replace(ONE, cluster="b"),
        replace(ONE, tool="aiperf"),
    ]
    assert newest([ONE, later, *others], point, "token_throughput") == later
    assert newest([replace(ONE, gpu="GB200", cluster="a")], point, "token_throughput") is not None
    assert newest(others, point, "token_throughput") is None
    (theirs,) = group([record(1, 1.0, s_client_tool="aiperf")])
    assert newest([ONE], theirs, "token_throughput") is None
    assert newest([replace(ONE, tool="aiperf")], theirs, "token_throughput") is not None
