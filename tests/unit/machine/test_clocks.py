"""The words that lock clocks and give them back, and what is tried when that fails."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_disagg.errors import DisaggError
from pytest_disagg.machine import clocks, holding
from pytest_disagg.machine.clocks import Lock, give_back
from pytest_disagg.records.nvidia_smi import SmiError
from tests.standins import nvidia_smi

PAGE = Path(__file__).resolve().parents[3] / "docs/machine.md"


def lock(folder: Path, memory: int | None = None) -> Lock:
    return Lock(("sudo", "-n", "nvidia-smi"), ("GPU-a", "GPU-b"), 1410, memory, 5.0, folder / "answer.json")


def test_words(tmp_path: Path) -> None:
    plain, both = lock(tmp_path), lock(tmp_path, 2619)
    assert plain.argv(["-rgc"]) == ["sudo", "-n", "nvidia-smi", "-i", "GPU-a,GPU-b", "-rgc"]
    assert (plain.set_words(), plain.reset_words()) == ([["-lgc", "1410,1410"]], [["-rgc"]])
    assert both.set_words() == [["-lgc", "1410,1410"], ["-lmc", "2619,2619"]]
    assert both.reset_words() == [["-rgc"], ["-rmc"]]
    assert Lock.from_json(both.to_json()) == both


def test_a_reset_that_fails_is_tried_again_and_then_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def run(argv: Sequence[str], timeout_s: float) -> str:
        asked.append(argv[-1])
        if argv[-1] == "-rmc" or asked.count("-rgc") == 1:
            raise SmiError(f"{argv[-1]} was killed")
        return ""

    monkeypatch.setattr(clocks, "run", run)
    assert give_back(lock(tmp_path, 2619)) == "-rmc was killed"
    assert sorted(asked) == ["-rgc", "-rgc", "-rmc", "-rmc"]


@pytest.mark.parametrize(
    ("gpus", "permitted", "expected"),
    [
        ("1,3", True, [f"GPU-0000000{index}-stand-in {word}" for word in ("-rgc", "-rmc") for index in (1, 3)]),
        ("", True, []),
        ("1", False, []),
    ],
)
def test_the_epilog_of_the_page(tmp_path: Path, gpus: str, permitted: bool, expected: list[str]) -> None:
    """Slurm sets no PATH for it, and drains a node whose epilog fails."""
    asked = nvidia_smi.install(tmp_path / "bin", [{}] * 4, permitted=permitted)
    found = re.search(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    assert "/usr/bin/nvidia-smi" in found[1]
    epilog = tmp_path / "epilog"
    epilog.write_text(found[1].replace("/usr/bin/nvidia-smi", str(tmp_path / "bin/nvidia-smi")))
    epilog.chmod(0o755)
    environ = {"SLURM_JOB_GPUS": gpus} if gpus else {}
    assert subprocess.run([epilog], env=environ, stdout=subprocess.DEVNULL, check=False).returncode == 0
    assert (asked.read_text().splitlines() if asked.exists() else []) == expected


@pytest.mark.parametrize(
    ("local", "rank", "expected"),
    [("0", "4", True), ("1", "5", False), ("0", "0", False), ("1", "1", False), (None, None, False)],
)
def test_below_a_launcher_the_first_rank_of_each_other_node_locks(
    local: str | None, rank: str | None, expected: bool
) -> None:
    environ = {"SLURM_LOCALID": local, "SLURM_PROCID": rank}
    assert holding.locks({name: value for name, value in environ.items() if value is not None}) is expected


def test_a_node_without_a_gpu_has_no_clocks_to_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "read", lambda timeout_s: None)
    with pytest.raises(DisaggError, match="no NVIDIA GPU whose clocks could be locked"):
        holding.lock({"timeout_s": 1.0}, {})
