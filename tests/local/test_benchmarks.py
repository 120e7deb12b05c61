"""The measurements in benchmarks/ run and say what they measured; never how fast, which is no matter of passing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_disagg.config.listing import list_cases
from pytest_disagg.config.resolve import load_cases

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def output_of(script: str, *args: str) -> str:
    argv = [sys.executable, str(BENCHMARKS / script), *args]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a script of that folder."""
    monkeypatch.syspath_prepend(BENCHMARKS)


def test_collecting_says_what_it_collected_and_the_ratio() -> None:
    printed = output_of("collect.py", "--files", "20", "--runs", "1")
    # 12 disaggregated files of 8 ids; 4 aggregated ones of 6, 7, 8, 4 servers, each twice, as is the file; 3 and 1 own.
    assert "20 case files (mixed)" in printed
    assert f"{12 * 8 + 2 * (4 + 6 + 7 + 8 + 4) + (1 + 2 + 1) + 1} test ids" in printed
    for row in ("plain pytest, all ids", "pytest-disagg, all ids", "plain pytest, one full id"):
        assert re.search(rf"^{row}( +[\d.]+){{4}}$", printed, re.MULTILINE), printed
    assert re.search(r"^all ids: [\d.]+ x plain pytest", printed, re.MULTILINE)
    assert re.search(r"^one full id: [\d.]+ x plain pytest", printed, re.MULTILINE)


def test_starting_says_the_difference_and_what_is_imported() -> None:
    printed = output_of("startup.py", "--runs", "1", "--importtime")
    assert re.search(r"^with pytest-disagg: [+-][\d.]+ ms", printed, re.MULTILINE)
    assert re.search(r"^with pytest-disagg, not compiled: [+-][\d.]+ ms", printed, re.MULTILINE)
    imported = re.findall(r"^ +[\d.]+ ms  (\S+)$", printed, re.MULTILINE)
    assert "pytest_disagg.plugin.options" in imported
    assert "_pytest.terminal" not in imported


def test_peers_says_what_each_client_measured_beside_the_server() -> None:
    printed = output_of("peers.py", "--peers", "--concurrency", "2", "--waves", "2", "--osl", "4", "--runs", "1")
    cell = r"[\d.]+ \([+-][\d.]+\)"
    assert re.search(rf"^native \S+ +{cell} +{cell}( +[\d.]+){{3}}$", printed, re.MULTILINE), printed


@pytest.mark.usefixtures("on_path")
def test_sides_that_collect_different_ids_are_not_compared(tmp_path: Path) -> None:
    from collect import NO_PLUGIN, check_same, collecting, write_projects

    write_projects(tmp_path, 3, "own")
    plain, ours = collecting("plain", tmp_path / "plain", *NO_PLUGIN), collecting("ours", tmp_path / "ours")
    check_same(plain, ours, 60)
    next((tmp_path / "ours").rglob("*.yaml")).unlink()
    with pytest.raises(SystemExit, match="different ids"):
        check_same(plain, ours, 60)


@pytest.mark.usefixtures("on_path")
def test_a_command_that_fails_is_no_measurement(tmp_path: Path) -> None:
    from alternate import Command, environment, times_of

    command = Command("breaks", (sys.executable, "-c", "print('why'); exit(3)"), tmp_path, environment(tmp_path))
    with pytest.raises(SystemExit, match=r"breaks: exit code 3\nwhy"):
        times_of([command], 1, timeout_s=60)


@pytest.mark.usefixtures("on_path")
def test_what_is_measured_does_not_depend_on_what_this_machine_has_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alternate import Command, environment, output_of

    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-v")
    (tmp_path / "module.py").write_text("")
    argv = (sys.executable, "-c", "import module, os; print(os.environ.get('PYTEST_ADDOPTS'), module.__cached__)")
    printed = output_of(Command("imports", argv, tmp_path, environment(tmp_path / "bytecode")), timeout_s=60).stdout
    assert printed.startswith(f"None {tmp_path / 'bytecode'}/")
    assert list((tmp_path / "bytecode").rglob("module.*.pyc"))


@pytest.mark.usefixtures("on_path")
@pytest.mark.parametrize("mix", ["mixed", "tensorrt-llm", "own"])
def test_made_up_files_are_real_ones(tmp_path: Path, mix: str) -> None:
    from config_files import write_config_files

    size = write_config_files(tmp_path, 20, mix)
    files = list(tmp_path.rglob("*.yaml"))
    assert len(files) == 20
    assert size == sum(path.stat().st_size for path in files)
    assert not [case for case in list_cases([tmp_path]) if case.error]
    for path in files:
        assert load_cases(str(path), dirs=[tmp_path], environ={}), path
        lines = len(path.read_text().splitlines())
        if "cases:" not in path.read_text():
            assert 100 <= lines <= 290, path
