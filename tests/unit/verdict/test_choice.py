"""Which baseline file is taken, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_disagg.errors import UsageError
from pytest_disagg.verdict.baseline import load
from pytest_disagg.verdict.choice import choose_baseline

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    folder = tmp_path / "baselines"
    folder.mkdir()
    for name in ("base_perf.csv", "base_perf_pytorch.csv", "gb200.csv", "sim.csv"):
        (folder / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("stage", "gpu", "engine", "name"),
    [
        ("GB200-PyTorch-1", "gb200", "trtllm", "base_perf_pytorch.csv"),
        ("GB200-Perf-1", "gb200", "trtllm", "base_perf.csv"),
        ("", "gb200", "trtllm", "gb200.csv"),
        ("", "none", "trtllm", "sim.csv"),
        ("", "gb200", "sim", "sim.csv"),
    ],
)
def test_choices(configs: Path, stage: str, gpu: str, engine: str, name: str) -> None:
    choice = choose_baseline(None, stage, [configs / "nowhere", configs], gpu, engine=engine)
    assert choice.path == configs / "baselines" / name
    assert str(choice.path) in choice.words


def test_the_option_wins(configs: Path) -> None:
    own = configs / "own.csv"
    own.touch()
    assert choose_baseline(own, "PyTorch", [configs], "gb200").path == own
    with pytest.raises(UsageError, match=r"--disagg-baseline: found no file .*nowhere\.csv"):
        choose_baseline(configs / "nowhere.csv", "", [configs], "gb200")


def test_none_is_said_with_what_was_looked_for(configs: Path) -> None:
    for path in (configs / "baselines").iterdir():
        path.unlink()
    choice = choose_baseline(None, "PyTorch", [configs], "h100")
    assert choice.path is None
    assert choice.words == f"no baseline: found no base_perf_pytorch.csv and no h100.csv in {configs}"


def test_the_files_of_this_project_can_be_read() -> None:
    for path in sorted((ROOT / "test_configs" / "baselines").glob("*.csv")):
        assert load(path).rows, path
