"""Scores of accuracy tasks against the limits of the case file. Pure: scores in, findings and words out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pytest_disagg.config.accuracy_tasks import AccuracyTask, Limit
from pytest_disagg.config.text import did_you_mean
from pytest_disagg.records.scores import Score
from pytest_disagg.verdict.gate import Finding

SAID = "accuracy: "
"""Begins every line and finding about a score."""


@dataclass(frozen=True)
class Compared:
    """``findings``: what makes the run red. ``lines``: every score beside its limit. ``limits``: how many compared."""

    findings: tuple[Finding, ...]
    lines: tuple[str, ...]
    limits: int


def compare(task: AccuracyTask, scores: Sequence[Score], where: Callable[[str], str]) -> Compared:
    """A score beyond its limit is ``functional``: the deployment answers wrongly. One that is missing is ``invalid``.

    ``where`` gives a limit's key with its file and line.
    """
    findings: list[Finding] = []
    lines: list[str] = []
    used: set[int] = set()
    for score in scores:
        bounds = []
        for index, limit in enumerate(task.limits):
            if score.task != task.name or not limit.names(score.metric, score.filter_name):
                continue
            used.add(index)
            bound = limit.bound(score.samples)
            bounds.append(_words(limit, bound))
            if (score.value > bound) if limit.upper else (score.value < bound):
                findings.append(Finding("functional", _broken(score, limit, bound, where)))
        lines.append(f"{SAID}{score}: {', '.join(bounds) or 'no limit in the file'}")
    findings += _missing(task, scores, used, where)
    return Compared(tuple(findings), tuple(lines), len(used))


def _broken(score: Score, limit: Limit, bound: float, where: Callable[[str], str]) -> str:
    side = "above" if limit.upper else "below"
    text = f"{SAID}{score.task} {score.key} {score.value:.6g} is {side} {bound:.6g} ({where(limit.key)}"
    return f"{text}: {limit.value:.6g} expected)" if bound != limit.value else f"{text})"


def _words(limit: Limit, bound: float) -> str:
    return f"at {'most' if limit.upper else 'least'} {bound:.6g}"


def _missing(
    task: AccuracyTask, scores: Sequence[Score], used: set[int], where: Callable[[str], str]
) -> Iterator[Finding]:
    own = [score.key for score in scores if score.task == task.name]
    # A tag has no score of its own: lm_eval gives those of its tasks.
    there = own or [f"{score.task} {score.key}" for score in scores]
    for index, limit in enumerate(task.limits):
        if index not in used:
            text = f"{SAID}{task.name} has no score {limit.score} ({where(limit.key)}); lm_eval gave "
            hint = did_you_mean(limit.score, own)
            yield Finding("invalid", f"{text}{', '.join(there) or 'none'}" + (f" ({hint})" if hint else ""))
