"""Change points against people's annotations: ours, and what is recorded of other methods, scored as TCPDBench does.

    python benchmarks/segments.py [FOLDER]            # default: ../shared/spec/real-series

A series is ``{"values": [...], "annotations": {"annotator": [index, ...]}, "methods": {"name": [index, ...]}}``.
Margin 5; precision against the union of all annotators, recall the mean over annotators, averages over series. "Plain":
the trivial index 0 is left out; where nothing is predicted the precision is 1, of an annotator who marked nothing the
recall.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from pytest_disagg.verdict.changepoints import changepoints

MARGIN = 5
FOLDER = Path(__file__).resolve().parents[2] / "shared/spec/real-series"


@dataclass(frozen=True)
class Series:
    """``methods`` are other methods' change points, as far as they are known."""

    name: str
    values: list[float]
    annotations: Mapping[str, Sequence[int]]
    methods: Mapping[str, Sequence[int]]


Method = Callable[[Series], Sequence[int]]


def series(folder: Path) -> list[Series]:
    """The series of a folder, by name."""
    found = []
    for path in sorted(folder.glob("*.json")):
        document = json.loads(path.read_text(encoding="utf-8"))
        values = [float(value) for value in document["values"]]
        found.append(Series(path.stem, values, document["annotations"], document.get("methods", {})))
    return found


def hits(truth: Collection[int], predicted: Collection[int]) -> int:
    """How many of ``truth`` have a prediction of their own within the margin."""
    left = set(predicted)
    count = 0
    for index in sorted(truth):
        near = [each for each in left if abs(each - index) <= MARGIN]
        if near:
            left.remove(min(near, key=lambda each: abs(each - index)))
            count += 1
    return count


def score(annotations: Mapping[str, Sequence[int]], predicted: Sequence[int]) -> tuple[float, float, float]:
    """Precision, recall and F1 of one series."""
    marked = [{index for index in marks if index} for marks in annotations.values()]
    wanted = [index for index in predicted if index]
    union = set().union(*marked)
    precision = hits(union, wanted) / len(wanted) if wanted else 1.0
    recall = fmean(hits(marks, wanted) / len(marks) if marks else 1.0 for marks in marked)
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return precision, recall, f1


def scores(method: Method, every: Sequence[Series]) -> tuple[float, float, float]:
    """Mean precision, recall and F1."""
    found = [score(each.annotations, method(each)) for each in every]
    return fmean(p for p, _, _ in found), fmean(r for _, r, _ in found), fmean(f for _, _, f in found)


def ours(each: Series) -> Sequence[int]:
    return [point.index for point in changepoints(each.values)]


def simulated(kind: str, changes: Sequence[tuple[int, float]], count: int = 40, length: int = 200) -> list[Series]:
    """Series of unit noise with steps of so many standard deviations: independent, with outliers, or correlated."""
    found = []
    for seed in range(count):
        r = random.Random(seed)
        correlation = {"correlated 0.3": 0.3, "correlated 0.7": 0.7}.get(kind, 0.0)
        level, values = r.gauss(0, 1), []
        for index in range(length):
            level = correlation * level + (1 - correlation**2) ** 0.5 * r.gauss(0, 1)
            spike = r.uniform(5, 12) if kind == "outliers" and r.random() < 0.06 else 0.0
            values.append(100 + level + spike + sum(size for at, size in changes if index >= at))
        found.append(Series(f"{kind} {seed}", values, {"truth": [at for at, _ in changes]}, {}))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    options = parser.parse_args()
    every = series(options.folder)
    if every:
        print("| method | plain F1 | precision | recall |\n|---|---|---|---|")
        methods: dict[str, Method] = {"ours": ours}
        for name in every[0].methods:
            methods[name] = lambda each, name=name: each.methods[name]  # type: ignore[misc]
        for name, method in methods.items():
            precision, recall, f1 = scores(method, every)
            print(f"| {name} | {f1:.3f} | {precision:.3f} | {recall:.3f} |")
    print(
        "\n| 200 simulated values | change points without a change | F1 | precision | recall |\n|---|---|---|---|---|"
    )
    steps = ((60, 1.5), (120, -2.0), (150, 2.0))
    for kind in ("independent", "outliers", "correlated 0.3", "correlated 0.7"):
        false = fmean(len(ours(each)) for each in simulated(kind, ()))
        precision, recall, f1 = scores(ours, simulated(kind, steps))
        print(f"| {kind} | {false:.2f} | {f1:.2f} | {precision:.2f} | {recall:.2f} |")


if __name__ == "__main__":
    main()
