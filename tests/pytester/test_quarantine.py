"""A case in quarantine: red as ever in every word, and an expected failure to pytest."""

from __future__ import annotations

import datetime
import json
import os
from pathlib import Path

import pytest

from pytest_disagg.rundir.layout import RunDir
from tests.pytester.conftest import AGGR, Finished, make_project, properties, run_pytest
from tests.pytester.test_run import FAILING

TODAY = datetime.date.today()
UNTIL = TODAY + datetime.timedelta(days=5)
TEST = "test_e2e[disagg-e2e-known]"
WORDS = f"quarantined by ann until {UNTIL}: its server ends, #7"


def quarantine(folder: Path, *entries: str) -> None:
    path = folder / "test_configs/baselines/quarantine.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(["quarantine:\n", *(f"  - {{{entry}}}\n" for entry in entries)]))


def entry(about: str, begin: datetime.date = TODAY, until: datetime.date = UNTIL) -> str:
    return f'date: {begin}, {about}, owner: ann, until: {until}, reason: "its server ends, #7"'


def outcome(done: Finished) -> dict[str, object]:
    found = properties(done.tests()[TEST])
    path = RunDir.of(done.folder / "disagg-runs", found["disagg_run_id"], found["disagg_case"]).outcome
    return dict(json.loads(path.read_text()))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disaggregated case whose GEN server ends in the middle, and an aggregated one that passes."""
    return make_project(tmp_path_factory.mktemp("quarantine") / "project", known=FAILING, fine=AGGR)


def test_a_red_run_is_an_expected_failure(project: Path) -> None:
    quarantine(project, entry("case: disagg-e2e-known"), entry("case: 'aggr-*'"))
    done = run_pytest(project, "--junitxml=r.xml", "-rx")
    assert done.code == 0, done.out
    assert "1 passed, 1 xfailed" in done.out
    test = done.tests()[TEST]
    (skipped,) = test.findall("skipped")
    assert (skipped.get("type"), skipped.get("message")) == ("pytest.xfail", WORDS)
    assert test.find("failure") is None
    found = properties(test)
    assert (found["disagg_verdict"], found["disagg_kind"]) == ("failed", "functional")
    assert found["disagg_quarantine"] == WORDS
    assert found["disagg_red"].startswith("functional: GEN_0 failed in stage")
    assert f"disagg-e2e-known: {WORDS}; red all the same: functional: GEN_0 failed" in done.out
    assert f"failed (quarantined by ann until {UNTIL})" in done.out
    assert f"insufficient-history (quarantined by ann until {UNTIL})" in done.out
    said = outcome(done)
    assert (said["quarantine"], said["excused"], said["kind"]) == (WORDS, True, "functional")
    fine = properties(done.tests()["test_e2e[aggr-fine]"])
    records = [json.loads(line) for line in Path(fine["disagg_records"]).read_text().splitlines()]
    assert [(each["b_quarantined"], each["s_quarantine"]) for each in records] == [(True, WORDS)] * len(records)


def test_runxfail_shows_it_red(project: Path) -> None:
    quarantine(project, entry("case: disagg-e2e-known"))
    done = run_pytest(project, "--junitxml=r.xml", "--runxfail", "-k", "known")
    assert done.code == 1, done.out
    assert done.tests()[TEST].find("failure") is not None


def test_after_its_last_day_it_is_red_and_says_so(project: Path) -> None:
    over = TODAY - datetime.timedelta(days=1)
    quarantine(project, entry("case: disagg-e2e-known", over, over), entry("case: aggr-fine", over, over))
    done = run_pytest(project, "--junitxml=r.xml", "-k", "known")
    assert done.code == 1, done.out
    failure = done.tests()[TEST].find("failure")
    assert failure is not None
    assert f"quarantine of disagg-e2e-known by ann ended on {over}: remove the line or mend it" in (failure.text or "")
    assert "aggr-fine by ann" not in done.out
    assert (outcome(done)["quarantine"], outcome(done)["excused"]) == ("", False)


def test_a_node_in_quarantine_leaves_red_red(project: Path) -> None:
    node = os.uname().nodename
    quarantine(project, entry(f"node: {node}"))
    done = run_pytest(project, "--junitxml=r.xml", "-k", "known")
    assert done.code == 1, done.out
    words = f"node {node} {WORDS}"
    assert properties(done.tests()[TEST])["disagg_quarantine"] == words
    assert (outcome(done)["quarantine"], outcome(done)["excused"]) == (words, False)


def test_a_broken_file_is_an_error_of_every_case(project: Path) -> None:
    quarantine(project, entry("case: disagg-e2e-known").replace("owner", "owener"))
    done = run_pytest(project, "--junitxml=r.xml")
    assert done.code == 1
    assert "2 failed" in done.out
    assert "quarantine.yaml:2: quarantine.0.owener" in done.out
    assert "did you mean 'owner'?" in done.out


def test_a_mistake_in_the_case_is_not_excused(project: Path) -> None:
    quarantine(project, entry("case: disagg-e2e-known"))
    done = run_pytest(project, "--junitxml=r.xml", "-k", "known", "--disagg-baseline=none.csv")
    assert done.code == 1, done.out
    assert outcome(done)["excused"] is False
