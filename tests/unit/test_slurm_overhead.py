"""What benchmarks/slurm_overhead.py says that the replaced scripts wait, and how it adds up; no cluster is started."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def overhead(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import slurm_overhead

    return slurm_overhead


@pytest.mark.parametrize(
    ("tasks", "routable_s"),
    [
        # The last server starts at 10 s and sleeps 30; up to 10 until its ranks met, up to 10 until it is found.
        ((8, 2, 2), (40, 60)),
        # Only the first server has ranks that sleep: the coordinator, begun at 20 s, finds all at its first look.
        ((2, 1, 1), (30, 50)),
        # Nobody sleeps: the coordinator's own first look decides.
        ((1, 1, 1), (30, 40)),
    ],
)
def test_the_waits_up_to_a_routable_deployment(
    overhead: ModuleType, tasks: tuple[int, ...], routable_s: tuple[int, int]
) -> None:
    waits = [wait for wait in overhead.waits_of(tasks) if wait.until in ("steps", "playing", "routable")]
    assert (sum(wait.least_s for wait in waits), sum(wait.most_s for wait in waits)) == routable_s


def test_the_sum_is_of_our_stages_alone(overhead: ModuleType) -> None:
    run = {stage.until: 1.0 if stage.whose == overhead.OURS else 100.0 for stage in overhead.STAGES}
    printed = overhead.table([run, run], overhead.waits_of((8, 2, 2))).splitlines()
    ours = sum(stage.whose == overhead.OURS for stage in overhead.STAGES)
    assert " ".join(printed[-1].split()) == f"ours, in all {ours:.2f} s {ours:.2f} - {ours:.2f} s 110 - 430 s"
    assert len(printed) == 1 + len(overhead.STAGES) + 2
