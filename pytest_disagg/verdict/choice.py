"""Which baseline CSV a run is judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.errors import UsageError

SIM = "sim"
FOLDER = "baselines"


@dataclass(frozen=True)
class Choice:
    """``path`` of the CSV, None where there is none; ``words`` say how it was found, or what was not."""

    path: Path | None
    words: str


def choose_baseline(
    option: Path | None, stage_name: str, dirs: Sequence[Path], gpu: str, *, engine: str = ""
) -> Choice:
    """The option's file; else the stage's (``base_perf_pytorch.csv`` where its name contains PyTorch, else
    ``base_perf.csv``); else ``<gpu>.csv``.

    ``dirs`` are config directories, searched in order: their folder ``baselines``, then themselves. A stage whose file
    is nowhere falls back to the GPU's. A machine without a GPU, and the engine ``sim`` on any machine, have
    ``sim.csv``.

    Raises:
        UsageError: the option names no file.
    """
    if option is not None:
        if not option.is_file():
            raise UsageError(f"--disagg-baseline: found no file {option}")
        return Choice(option, f"{option} (--disagg-baseline)")
    missing = []
    if stage_name:
        name = "base_perf_pytorch.csv" if "PyTorch" in stage_name else "base_perf.csv"
        found = _find(name, dirs)
        if found is not None:
            return Choice(found, f"{found} (stage {stage_name})")
        missing.append(name)
    simulated = engine == SIM or gpu in ("", "none", "cpu")
    name = f"{SIM if simulated else gpu}.csv"
    found = _find(name, dirs)
    if found is not None:
        return Choice(found, f"{found} ({'simulated servers or no GPU' if simulated else f'GPU {gpu}'})")
    searched = ", ".join(map(str, dirs)) or "no directory"
    return Choice(None, f"no baseline: found no {' and no '.join([*missing, name])} in {searched}")


def _find(name: str, dirs: Sequence[Path]) -> Path | None:
    places = (folder / name for directory in dirs for folder in (directory / FOLDER, directory))
    return next((path for path in places if path.is_file()), None)
