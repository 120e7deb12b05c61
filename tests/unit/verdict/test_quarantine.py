"""quarantine.yaml: reading it, its mistakes, for whom it holds and until when."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_disagg.cli.main import main
from pytest_disagg.errors import ConfigError
from pytest_disagg.records.points import group
from pytest_disagg.verdict.against import judge_point
from pytest_disagg.verdict.compatible import matching
from pytest_disagg.verdict.dated import today
from pytest_disagg.verdict.policy import policy_of
from pytest_disagg.verdict.quarantine import Quarantine, Quarantines, Standing, append, cluster_names, find, load
from pytest_disagg.verdict.update import update
from tests.unit.verdict.series import noise, record

DAY = datetime.date(2026, 11, 21)
CASE = Quarantine(DAY, datetime.date(2026, 12, 5), "ann", "hangs on n3, #123", case="disagg-e2e-r1")
NODE = Quarantine(DAY, datetime.date(2026, 12, 1), "bob", "link flaps", node="gb200-[01-04]", cluster="hsg")
WORDS = "quarantined by ann until 2026-12-05: hangs on n3, #123"


def standing(*entries: Quarantine, day: datetime.date = DAY, case: str = "disagg-e2e-r1", nodes: str = "") -> Standing:
    return Quarantines(entries, day).standing(case, ("hsg",), nodes.split(), rehearsal=False)


def test_what_is_added_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "baselines/quarantine.yaml"
    added = append(path, CASE) + append(path, NODE)
    assert load(path) == (CASE, NODE)
    assert added in path.read_text(encoding="utf-8")
    assert find([tmp_path / "other", tmp_path]) == path
    assert load(tmp_path / "none.yaml") == ()


@pytest.mark.parametrize(
    ("entry", "key", "expected"),
    [
        ("{date: 2026-11-21, case: c, until: 2026-11-30, reason: r}", "owner", "a value"),
        ("{date: 2026-11-21, owner: a, until: 2026-11-30, reason: r}", "case", "one of case, node"),
        ("{date: 2026-11-21, case: c, node: n, owner: a, until: 2026-11-30, reason: r}", "node", "one of case, node"),
        ("{date: 2026-11-21, case: c, owner: a, until: soon, reason: r}", "until", "a date such as"),
        ("{date: 2026-11-21, case: c, owner: a, until: 2026-11-20, reason: r}", "until", "a day from 2026-11-21 on"),
        ("{date: 2026-11-21, case: c, owner: a, until: 2027-02-20, reason: r}", "until", "at most 90 days"),
        ("{date: 2026-11-21, case: c, owner: a, until: 2026-11-30, reson: r}", "reson", "did you mean 'reason'"),
        ("{date: 2026-11-21, case: '*', owner: a, until: 2026-11-30, reason: r}", "case", "a pattern that names some"),
        ("{date: 2026-11-21, node: 'n[1', owner: a, until: 2026-11-30, reason: r}", "node", "a Slurm host list"),
    ],
)
def test_mistakes_are_named_with_their_line(tmp_path: Path, entry: str, key: str, expected: str) -> None:
    path = tmp_path / "quarantine.yaml"
    path.write_text(f"# ours\nquarantine:\n  - {entry}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load(path)
    assert expected in str(raised.value)
    assert f"{path}:3: quarantine.0.{key}: " in str(raised.value)


def test_the_longest_line_there_may_be(tmp_path: Path) -> None:
    path = tmp_path / "quarantine.yaml"
    append(path, replace(CASE, until=DAY + datetime.timedelta(days=90)))
    assert len(load(path)) == 1


def test_from_its_date_to_the_end_of_its_last_day() -> None:
    days = (DAY - datetime.timedelta(days=1), DAY, CASE.until, CASE.until + datetime.timedelta(days=1))
    found = [standing(CASE, day=day) for day in days]
    assert [each.words for each in found] == ["", WORDS, WORDS, ""]
    assert [each.excused for each in found] == [False, True, True, False]
    ended = "quarantine of disagg-e2e-r1 by ann ended on 2026-12-05: remove the line or mend it"
    assert [each.lines for each in found] == [(), (), (), (ended,)]
    assert standing(CASE, day=days[-1], case="disagg-e2e-r2").lines == ()


def test_which_case_is_meant() -> None:
    assert standing(replace(CASE, case="disagg-e2e-*")).excused
    assert standing(CASE, case="disagg_upload-e2e-r1").excused
    assert not standing(CASE, case="disagg-e2e-r10").excused
    assert standing(replace(CASE, cluster="hsg")).excused
    assert not standing(replace(CASE, cluster="other")).excused
    assert Quarantines((CASE,), DAY).standing("disagg-e2e-r1", (), (), rehearsal=True) == Standing()


def test_a_node_excuses_nothing() -> None:
    found = standing(NODE, case="any", nodes="n9 gb200-02.example.org")
    assert found == Standing("node gb200-02 quarantined by bob until 2026-12-01: link flaps")
    assert standing(NODE, case="any", nodes="n9") == Standing()
    both = standing(CASE, NODE, nodes="gb200-02 gb200-03")
    assert both.words == f"{WORDS}; nodes gb200-02, gb200-03 quarantined by bob until 2026-12-01: link flaps"
    assert both.excused


def test_the_nodes_of_a_cluster() -> None:
    longer = replace(NODE, until=datetime.date(2026, 12, 9), node="gb200-04,gb200-05")
    quarantines = Quarantines((NODE, longer, CASE), DAY)
    assert quarantines.nodes(("hsg",)) == {
        longer: ("gb200-04", "gb200-05"),
        NODE: ("gb200-01", "gb200-02", "gb200-03"),
    }
    assert quarantines.nodes(("other",)) == {}
    assert longer.words(longer.nodes).startswith("nodes gb200-04,gb200-05 quarantined")
    assert Quarantines((NODE,), NODE.until + datetime.timedelta(days=1)).nodes(("hsg",)) == {}


def test_what_a_job_calls_its_cluster() -> None:
    environ = {"DISAGG_CLUSTER_NAME": "hsg", "SLURM_CLUSTER_NAME": "lab", "HOME": "x"}
    assert cluster_names(environ) == ("hsg", "lab")


def test_its_records_are_no_reference(tmp_path: Path) -> None:
    """Twelve nights at one level, twelve at twice that in quarantine, which would be the reference otherwise."""
    good = [record(day, value) for day, value in enumerate(noise(12, level=100.0), 1)]
    held = [record(day, value, b_quarantined=True) for day, value in enumerate(noise(12, level=200.0), 13)]
    tonight = [record(25, 50.0), record(25, 50.1, l_repeat=1), record(25, 49.9, l_repeat=2)]
    (point,) = group(tonight)
    policy = policy_of("post", {}, branch="main")
    words = {each.metric: each for each in judge_point(point, [*good, *held], policy) if each.gates}
    found = words["token_throughput"]
    assert found.word == "regression"
    assert found.reference == pytest.approx(100.0, rel=0.02)
    merged = {**held[0], "b_is_post_merge": True}
    assert matching(held[-1], [merged], branch="main") == []
    assert matching(held[-1], [{**merged, "b_quarantined": False}], branch="main") != []
    changed = update(tmp_path / "b.csv", held[-1:])
    assert (changed.used, changed.notes) == (0, ("1 records in quarantine are not used",))


def disagg(folder: Path, *arguments: str) -> int:
    return main(["quarantine", f"--config-dir={folder}", *arguments])


def test_the_command_adds_and_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert disagg(tmp_path) == 0
    assert "nothing is in quarantine" in capsys.readouterr().out
    until = today() + datetime.timedelta(days=9)
    given = ("--owner=bob", f"--until={until}", "--reason=link flaps")
    assert disagg(tmp_path, "--add", "node", "n[1-2]", "--cluster=hsg", *given) == 0
    capsys.readouterr()
    over = Quarantine(datetime.date(2020, 1, 1), datetime.date(2020, 1, 2), "ann", "slow", case="aggr-x")
    append(tmp_path / "baselines/quarantine.yaml", over)
    assert disagg(tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("active, 9 days left  node n[1-2]")
    assert lines[1].endswith(f"{until}  link flaps")
    assert lines[2].split()[:2] == ["expired", "aggr-x"]
    assert disagg(tmp_path, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [(each["state"], each["days_left"]) for each in found] == [("active", 9), ("expired", 0)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--add", "case", "x", "--owner=a", "--reason=r"), "--until: found nothing"),
        (
            ("--add", "case", "x", "--owner=a", "--reason=r", "--until=2099-01-01"),
            "--until: found 2099-01-01, expected at",
        ),
        (("--add", "rack", "x", "--owner=a", "--reason=r", "--until=2099-01-01"), "--add: found 'rack'"),
        (("--owner=a",), "found --owner, expected it with --add"),
    ],
)
def test_what_the_command_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], said: str
) -> None:
    assert disagg(tmp_path, *arguments) == 4
    assert said in capsys.readouterr().err
    assert not (tmp_path / "baselines").exists()
