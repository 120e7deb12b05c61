"""What lm_eval leaves behind: ``<output>/<model>/results_<time>.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_disagg.records.scores import Score

PATTERN = "results_*.json"
_STDERR = "_stderr"


class NoScoresError(Exception):
    """lm_eval left nothing that can be read as scores; says what is there instead."""


@dataclass(frozen=True)
class Results:
    """The scores of one task. ``cut`` is how many samples there would have been, where fewer were asked (``limit``)."""

    scores: tuple[Score, ...]
    path: Path
    version: str = ""
    cut: int | None = None


def read(output: Path, task: str) -> Results:
    """The newest results below ``output``: the task's own scores, or those of its parts where it has none itself.

    Raises:
        NoScoresError: no file, no JSON, or no score of the task in it.
    """
    found = sorted(output.rglob(PATTERN), key=lambda path: path.name)
    if not found:
        raise NoScoresError(f"there is no {PATTERN} below {output}")
    path = found[-1]
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NoScoresError(f"{path}: {error}") from error
    results = _mapping(_mapping(document).get("results"))
    asked = _mapping(_mapping(document).get("n-samples"))
    names = [task] if _scored(results.get(task)) else [name for name in results if _scored(results[name])]
    scores = tuple(score for name in names for score in _scores(name, results[name], _samples(asked, name)[0]))
    if not scores:
        there = ", ".join(map(str, results)) or "nothing"
        raise NoScoresError(f"{path} has no score of {task}; there is {there}")
    effective, original = _samples(asked, task)
    cut = original if effective is not None and original is not None and effective < original else None
    return Results(scores, path, str(_mapping(document).get("lm_eval_version") or ""), cut)


def _scored(entry: object) -> bool:
    return any("," in str(key) for key in _mapping(entry))


def _scores(task: str, entry: Mapping[str, Any], samples: int | None) -> Iterator[Score]:
    """Keys are ``metric,filter``; ``metric_stderr,filter`` beside them is a number or ``N/A``."""
    for key, value in entry.items():
        metric, comma, filter_name = str(key).partition(",")
        number = _number(value)
        if not comma or metric.endswith(_STDERR) or number is None:
            continue
        stderr = _number(entry.get(f"{metric}{_STDERR},{filter_name}"))
        yield Score(task, metric, filter_name, number, stderr, samples)


def _samples(asked: Mapping[str, Any], task: str) -> tuple[int | None, int | None]:
    """How many samples of a task were asked, and how many it has."""
    entry = _mapping(asked.get(task))
    effective, original = _number(entry.get("effective")), _number(entry.get("original"))
    return (None if effective is None else int(effective)), (None if original is None else int(original))


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
