"""Which tests pytest-split puts into which group: its ``least_duration``, as a function of names and durations."""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_disagg.errors import ConfigError, Problem


def least_duration(tests: Sequence[str], durations: Mapping[str, float], groups: int) -> list[list[str]]:
    """Every test, longest first, to the group that has the least so far; within a group in the given order.

    A test without a duration counts as the mean of those that have one, all as one second where none has. Tests of
    equal duration go by name. What pytest-split does (``pytest_split.algorithms.LeastDurationAlgorithm``), so that the
    job that is sized here and the pytest that runs in it mean the same test.
    """
    known = [durations[test] for test in tests if test in durations]
    mean = sum(known) / len(known) if known else 1.0
    order = sorted(sorted(range(len(tests)), key=lambda i: tests[i]), key=lambda i: -durations.get(tests[i], mean))
    heap = [(0.0, group) for group in range(groups)]
    chosen: list[list[int]] = [[] for _ in range(groups)]
    for index in order:
        load, group = heapq.heappop(heap)
        chosen[group].append(index)
        heapq.heappush(heap, (load + durations.get(tests[index], mean), group))
    return [[tests[index] for index in sorted(group)] for group in chosen]


def read_durations(path: Path) -> dict[str, float]:
    """A durations file: an object, or the older list of pairs. Seconds by test.

    Raises:
        ConfigError: not there, or something else.
    """

    def wrong(found: str, expected: str = "a JSON object of test -> seconds") -> ConfigError:
        return ConfigError([Problem(path, None, "", found, expected)])

    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise wrong(error.strerror or "nothing that can be read", "a durations file") from None
    except ValueError as error:
        raise wrong(f"no JSON ({error})") from None
    try:
        return {str(test): float(seconds) for test, seconds in dict(data).items()}
    except (TypeError, ValueError) as error:
        raise wrong(f"something else ({error})") from None
