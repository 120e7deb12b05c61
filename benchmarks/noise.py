"""Noise models of nightly series: what a night's measurements of an unchanged system look like. Values are around 1."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping

Measure = Callable[[], float]
"""One measurement of one night, each call another."""
Model = Callable[[random.Random], Callable[[], Measure]]
"""Given randomness, what makes one night after the other."""


def gaussian(sigma: float) -> Model:
    """Independent measurements."""
    return lambda r: lambda: lambda: 1 + sigma * r.gauss(0, 1)


def heavy(r: random.Random) -> Callable[[], Measure]:
    """1.5 %, and in 6 % of the measurements 8 to 20 % slower."""
    return lambda: lambda: 1 + 0.015 * r.gauss(0, 1) - (r.uniform(0.08, 0.20) if r.random() < 0.06 else 0.0)


def bimodal(r: random.Random) -> Callable[[], Measure]:
    """Two node groups 5 % apart under one key, a group anew for each measurement."""
    return lambda: lambda: (0.95 if r.random() < 0.5 else 1.0) * (1 + 0.015 * r.gauss(0, 1))


def bimodal_night(r: random.Random) -> Callable[[], Measure]:
    """The same, but all of a night is measured on one group, as a live deployment is."""

    def night() -> Measure:
        group = 0.95 if r.random() < 0.5 else 1.0
        return lambda: group * (1 + 0.015 * r.gauss(0, 1))

    return night


def drift(r: random.Random) -> Callable[[], Measure]:
    """2 %, correlated 0.7 from night to night, and 0.5 % within a night."""
    level = r.gauss(0, 1)

    def night() -> Measure:
        nonlocal level
        level = 0.7 * level + math.sqrt(1 - 0.7**2) * r.gauss(0, 1)
        here = 1 + 0.02 * level
        return lambda: here + 0.005 * r.gauss(0, 1)

    return night


MODELS: Mapping[str, Model] = {
    "gaussian 1 %": gaussian(0.01),
    "gaussian 2 %": gaussian(0.02),
    "gaussian 3 %": gaussian(0.03),
    "gaussian 5 %": gaussian(0.05),
    "heavy tails": heavy,
    "bimodal, one key": bimodal,
    "bimodal, one key, by night": bimodal_night,
    "bimodal, group in key": gaussian(0.015),
    "drift, AR(1) 0.7": drift,
}
