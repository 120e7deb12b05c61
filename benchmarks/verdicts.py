"""False alarms, detection and blame of our verdicts and of other rules, on simulated nightly series.

    python benchmarks/verdicts.py                     # 2 000 series per cell, about 30 minutes on one core
    python benchmarks/verdicts.py --series 200 --rules ours

Throughput-like: larger is better, smallest effect 3 %. Each series begins with 30 clean nights. Deterministic.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from noise import MODELS, Measure, Model

from pytest_disagg.verdict.compatible import QUANTILE, WINDOW_DAYS, quantile
from pytest_disagg.verdict.series import judge_values, turn
from pytest_disagg.verdict.stats import mean_and_sd, median_and_spread

CLEAN = 30
MIN_EFFECT = 0.03
REMEASURE = 5
DROPS = (0.03, 0.05, 0.10)


@dataclass(frozen=True)
class Night:
    """A night's verdict. ``blamed`` is the position of the night that is said to have begun it."""

    red: bool
    value: float
    measurements: int
    blamed: int = 0


Rule = Callable[[Sequence[float], Measure], Night]
"""Judges one night after its past; may measure several times."""


def ours(past: Sequence[float], measure: Measure, *, change: bool = False) -> Night:
    """The policy of this package."""
    values: list[float] = []
    while True:
        values.append(measure())
        more = REMEASURE + 1 - len(values)
        found = judge_values(past, values, sign=1, min_effect=MIN_EFFECT, change=change, remeasure=more)
        if not found.open:
            return Night(found.word == "regression", median(values), len(values), turn(found, past, 1)[1])


def simulated_before(past: Sequence[float], measure: Measure) -> Night:
    """The best policy that was simulated before this one: median of three, and the mean of the last two to five nights.

    Its reference is the 30 clean nights for ever, as when it was simulated.
    """
    center, spread = median_and_spread(past[:CLEAN])
    spread = max(spread, MIN_EFFECT / 3)
    values = [measure()]
    red = False
    if center - values[0] > max(2 * spread, 0.8 * MIN_EFFECT):
        values += [measure(), measure()]
        red = center - median(values) > max(1.75 * spread, MIN_EFFECT)
    nights = [*past, median(values)]
    for width in range(2, 6):
        mean = sum(nights[-width:]) / width
        red |= center - mean > max(2.5 * spread / width**0.5, MIN_EFFECT)
    return Night(red, median(values), len(values), len(past))


def compatible(past: Sequence[float], measure: Measure) -> Night:
    """P95 of the rolling mean of three nights, 5 % below it is red."""
    value = measure()
    rolling = [sum(past[max(0, i - WINDOW_DAYS + 1) : i + 1]) / min(i + 1, WINDOW_DAYS) for i in range(len(past))]
    return Night(value < 0.95 * quantile(rolling, QUANTILE), value, 1, len(past))


def z_score(past: Sequence[float], measure: Measure) -> Night:
    """Three standard deviations below the mean."""
    value = measure()
    mean, sd = mean_and_sd(past)
    return Night(value < mean - 3 * sd, value, 1, len(past))


def last_ten(past: Sequence[float], measure: Measure) -> Night:
    """5 % below the median of the last ten nights."""
    value = measure()
    return Night(value < 0.95 * median(past[-10:]), value, 1, len(past))


RULES: Mapping[str, Rule] = {
    "ours": ours,
    "simulated before": simulated_before,
    "compatible": compatible,
    "z > 3": z_score,
    "median of 10, 5 %": last_ten,
}


def play(rule: Rule, model: Model, loss: Callable[[int], float], nights: int, seed: int) -> list[Night]:
    """One series: 30 clean nights, then ``nights`` that lose ``loss(night)`` (0 is the first)."""
    night = model(random.Random(seed))
    past = [night()() for _ in range(CLEAN)]
    found = []
    for index in range(nights):
        measure, factor = night(), 1 - loss(index)
        judged = rule(past, lambda measure=measure, factor=factor: measure() * factor)  # type: ignore[misc]
        past.append(judged.value)
        found.append(judged)
    return found


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f}" if part * 200 < whole * 3 else f"{100 * part / whole:.0f}"


def detection(name: str, rule: Rule, models: Sequence[str], series: int) -> None:
    """False alarms per night, and each drop found on its first night / within three."""
    print(f"\n### {name}\n")
    drops = " | ".join(f"{100 * drop:.0f} % drop" for drop in DROPS)
    print(f"| noise | false alarms | {drops} | measurements a clean night |")
    print("|---|---|" + "---|" * (len(DROPS) + 1))
    for label in models:
        clean = [play(rule, MODELS[label], lambda _: 0.0, 3, seed) for seed in range(series)]
        alarms = sum(night.red for nights in clean for night in nights)
        measured = sum(night.measurements for nights in clean for night in nights) / (3 * series)
        cells = []
        for drop in DROPS:
            runs = [play(rule, MODELS[label], lambda _, drop=drop: drop, 3, seed) for seed in range(series)]  # type: ignore[misc]
            first = sum(nights[0].red for nights in runs)
            within = sum(any(night.red for night in nights) for nights in runs)
            cells.append(f"{percent(first, series)} / {percent(within, series)} %")
        alarm = f"{100 * alarms / (3 * series):.2f} %"
        print(f"| {label} | {alarm} | {' | '.join(cells)} | {measured:.2f} |", flush=True)


def longer(rules: Mapping[str, Rule], series: int) -> None:
    """What happens after the first nights, at 2 % noise."""
    print(
        "\n| rule | blamed on the right night | slide of 0.5 % a night found after | bad node for two nights: red the "
        "night after | 5 % nobody accepted: red on night 30 | 10 %: red on night 30 |"
    )
    print("|---|---|---|---|---|---|")
    model = MODELS["gaussian 2 %"]
    for name, rule in rules.items():
        drops = [play(rule, model, lambda _: 0.05, 3, seed) for seed in range(series)]
        blamed = [next((night.blamed for night in nights if night.red), None) for nights in drops]
        exact = sum(each == CLEAN for each in blamed)
        slides = [play(rule, model, lambda night: 0.005 * (night + 1), 30, seed) for seed in range(series)]
        found = [next((i + 1 for i, night in enumerate(nights) if night.red), 31) for nights in slides]
        bad = [play(rule, model, lambda night: 0.10 if night < 2 else 0.0, 3, seed) for seed in range(series)]
        after = sum(nights[2].red for nights in bad)
        lasting = [
            sum(play(rule, model, lambda _, drop=drop: drop, 30, seed)[-1].red for seed in range(series))  # type: ignore[misc]
            for drop in (0.05, 0.10)
        ]
        known = sum(each is not None for each in blamed)
        print(
            f"| {name} | {percent(exact, max(known, 1))} % | {median(found):.0f} nights | {percent(after, series)} % | "
            f"{percent(lasting[0], series)} % | {percent(lasting[1], series)} % |",
            flush=True,
        )


def changes(series: int) -> None:
    """Changes measured while the reference branch has lost 5 % that nobody accepted."""
    model = MODELS["gaussian 2 %"]
    print("\n| nights since the branch lost 5 % | a change at its level is blamed | one that loses 5 % more is |")
    print("|---|---|---|")
    for bad in (1, 3, 5, 10, 30):
        counts = []
        for further in (0.0, 0.05):
            red = 0
            for seed in range(series):
                night = model(random.Random(seed))
                past = [night()() for _ in range(CLEAN)]
                for _ in range(bad):
                    measure = night()
                    past.append(ours(past, lambda measure=measure: measure() * 0.95).value)  # type: ignore[misc]
                measure, factor = night(), 0.95 * (1 - further)
                red += ours(past, lambda measure=measure, factor=factor: measure() * factor, change=True).red  # type: ignore[misc]
            counts.append(red)
        print(f"| {bad} | {percent(counts[0], series)} % | {percent(counts[1], series)} % |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=2000, help="series per cell (default: 2000)")
    parser.add_argument("--rules", nargs="+", choices=list(RULES), default=list(RULES))
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--only", choices=("detection", "longer", "changes"))
    options = parser.parse_args()
    began = time.monotonic()
    rules = {name: RULES[name] for name in options.rules}
    if options.only in (None, "detection"):
        for name, rule in rules.items():
            detection(name, rule, options.models, options.series)
    if options.only in (None, "longer"):
        longer(rules, max(options.series // 10, 1))
    if options.only in (None, "changes"):
        changes(max(options.series // 10, 1))
    print(
        f"\n{options.series} series per cell, a tenth of that for the last two tables; {time.monotonic() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
