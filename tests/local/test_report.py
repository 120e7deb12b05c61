"""A report of twenty cases in a real browser and as pictures of a PDF, and the page that a session leaves."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pytest_disagg.cli.main import main
from pytest_disagg.records import legacy_csv
from pytest_disagg.wrapper.perf import check_and_report
from pytest_disagg.wrapper.supervise import Ended
from tests.pytester.conftest import AGGR, make_project, run_pytest
from tests.unit.report.conftest import Make, fields, make_run, metrics, record

__all__ = ["make_run"]

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
LIMIT_S = 120.0
# No name resolves, so whatever a page asks for fails; its Content-Security-Policy turns each attempt into a message.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--enable-logging=stderr",
)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here (tests/browser.sh installs it)")


def browse(page: Path, profile: Path, *more: str) -> tuple[str, list[str]]:
    """The document that the browser made of a page, and what it had to say about it."""
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={profile}", *more, "--dump-dom", page.absolute().as_uri()]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=LIMIT_S)
    return ended.stdout, [line for line in ended.stderr.splitlines() if "CONSOLE" in line]


@pytest.fixture
def runs(make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sequence[Path]:
    """Twenty cases of one run, some of them red."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISAGG_HISTORY", str(tmp_path / "history"))
    endings = [("pass", None)] * 17 + [("regression", "regression"), ("invalid", "invalid"), ("failed", "functional")]
    return [
        make_run(f"disagg-e2e-case-{number:02}", verdict=verdict, kind=kind, red=[f"{kind}: x"] if kind else ())
        for number, (verdict, kind) in enumerate(endings)
    ]


@needs_browser
def test_twenty_cases_open_without_a_word_and_without_network(runs: Sequence[Path], tmp_path: Path) -> None:
    page = Path("page.html")
    assert main(["report", str(runs[0].parent), "--html", str(page)]) == 0
    text, said = browse(page, tmp_path / "profile")
    assert said == []
    assert len(re.findall(r'<section class="case"', text)) == 20
    assert text.count("<svg") == 60
    assert len(re.findall(r"<details open", text)) >= 3

    # The same browser does say so when a page asks for something.
    page.write_text(page.read_text(encoding="utf-8").replace("<header>", '<header><img src="https://example.com/x">'))
    _, said = browse(page, tmp_path / "profile-2")
    assert any("Content Security Policy" in line for line in said)


@needs_browser
def test_a_phone_need_not_be_scrolled_sideways(runs: Sequence[Path], tmp_path: Path) -> None:
    """At 390 pixels nothing but tables, which scroll by themselves, is wider than the screen."""
    page = Path("page.html")
    assert main(["report", str(runs[-1]), "--compare", str(runs[0]), str(runs[1]), "--html", str(page)]) == 0
    probe = "<script>document.title = document.documentElement.scrollWidth + ' of ' + innerWidth</script></body>"
    text = page.read_text(encoding="utf-8").replace("</body>", probe)
    page.write_text(re.sub(r"<meta http-equiv[^>]*>", "", text), encoding="utf-8")
    document, _ = browse(page, tmp_path / "profile", "--window-size=390,844")
    found = re.search(r"<title>(\d+) of (\d+)</title>", document)
    assert found is not None
    assert int(found[1]) <= int(found[2]) <= 500


@pytest.mark.skipif(
    shutil.which("pdftoppm") is None, reason="no pdftoppm here (tests/browser.sh installs poppler-utils)"
)
def test_no_page_of_the_pdf_is_empty(runs: Sequence[Path], tmp_path: Path) -> None:
    words = ["report", str(runs[0]), str(runs[-1]), "--compare", str(runs[0]), str(runs[1]), "--pdf", "r.pdf"]
    assert main(words) == 0
    subprocess.run(["pdftoppm", "-r", "20", "-gray", "r.pdf", "p"], check=True, timeout=LIMIT_S)
    pictures = [path.read_bytes() for path in sorted(Path().glob("p-*.pgm"))]
    assert len(pictures) >= 6
    for picture in pictures:
        assert len(set(picture)) > 20, "a page that is blank, or nearly so"


NAMED = (
    f"{sys.executable} -m pytest_disagg.cli.main report --files $perfResults $perfBaseline --output_path $perfReport"
)


@pytest.mark.parametrize("named", [{"DISAGG_PERF_REPORT_COMMAND": NAMED}, {}], ids=["named", "ours"])
def test_the_report_step_of_slurm_run(tmp_path: Path, named: dict[str, str]) -> None:
    """With perfMode the wrapper has the report made, as ``report.pdf`` beside the results of the stage."""
    results, base = tmp_path / "stage/perf_script_test_results.csv", tmp_path / "llm/tests/integration/defs/perf"
    base.mkdir(parents=True)
    legacy_csv.write(results, [record("c", 4, **fields(metrics()))])
    legacy_csv.write(base / "base_perf.csv", [record("c", 4, **fields(metrics(1.1)))])
    environ = {
        **os.environ,
        "perfMode": "true",
        "stageName": "stage",
        "DISAGG_PYTHON": sys.executable,
        **named,
    }

    def run(argv: tuple[str, ...], env: Mapping[str, str]) -> Ended:
        return Ended(subprocess.run(argv, env=dict(env), timeout=LIMIT_S, check=False).returncode, None)

    assert check_and_report(environ, tmp_path / "llm", tmp_path, run).report == 0
    assert results.with_name("report.pdf").read_bytes().startswith(b"%PDF-")
    # The code of a command that somebody named counts; that of the one that is there anyway does not.
    codes = check_and_report(environ, tmp_path / "llm", tmp_path, lambda _argv, _env: Ended(4, None))
    assert codes.report == (4 if named else 0)


def test_a_session_leaves_its_page(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", one=AGGR, broken="engine: sim\nhardware: {gpus: x}\nserver_configs: []\n")
    env = {"DISAGG_HISTORY": str(tmp_path / "history"), "HOME": os.environ.get("HOME", str(tmp_path))}
    result = run_pytest(project, "--disagg-html=pages/p.html", "--junitxml=r.xml", **env)
    assert result.code == 1, result.out
    assert f"report: {project / 'pages/p.html'}" in result.out
    text = (project / "pages/p.html").read_text(encoding="utf-8")
    assert "aggr-one" in text
    assert "broken.yaml" in text
    assert text.count('<section class="case"') >= 2
    assert "<svg" in text
    # Simulated servers on this machine hold no GPU.
    assert "GPU-hours" not in result.out + text


def test_a_session_that_cannot_write_its_page_ends_as_it_would(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", one=AGGR)
    (project / "file").write_text("")
    result = run_pytest(project, "--disagg-html=file/p.html", DISAGG_HISTORY=str(tmp_path / "history"))
    assert result.code == 0, result.out
    assert "no report page: " in result.out


def test_by_default_it_lies_beside_the_run_and_none_means_none(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p", one=AGGR)
    history = str(tmp_path / "history")
    result = run_pytest(project, DISAGG_HTML="", DISAGG_HISTORY=history)
    (page,) = project.glob("disagg-runs/*/report.html")
    assert f"report: {page}" in result.out
    result = run_pytest(project, DISAGG_HTML="none", DISAGG_HISTORY=history)
    assert "report:" not in result.out
    assert len([*project.glob("disagg-runs/*/report.html")]) == 1
