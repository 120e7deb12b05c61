"""The verdicts of a run with their evidence: ``results/verdicts.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from pytest_disagg.redact import redact
from pytest_disagg.report.model import Ruling
from pytest_disagg.rundir.layout import RunDir
from pytest_disagg.verdict.types import WORDS

NAME = "verdicts.json"
BY_BASELINE = "baseline-csv"


def rulings_of(rundir: RunDir) -> tuple[tuple[Ruling, ...], list[str]]:
    """The rulings, the worst that decide first, and what could not be read. A run may have none."""
    path = rundir.results / NAME
    if not path.exists():
        return (), []
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        return (), [f"{NAME}: {error}"]
    if not isinstance(found, list):
        return (), [f"{NAME}: found a JSON {type(found).__name__}, expected a list"]
    rulings = [_ruling(each) for each in found if isinstance(each, dict)]
    return tuple(sorted(rulings, key=_rank)), []


def references(rulings: tuple[Ruling, ...], load: str) -> dict[str, float]:
    """Metric -> the baseline's value, where the baseline CSV has one for that point."""
    return {
        each.metric: each.reference
        for each in rulings
        if each.load == load and each.method == BY_BASELINE and each.metric and each.reference is not None
    }


def _rank(ruling: Ruling) -> tuple[bool, int]:
    return not ruling.gates, -WORDS.index(ruling.word) if ruling.word in WORDS else 1


def _ruling(data: Mapping[str, Any]) -> Ruling:
    interval = data.get("interval_percent")
    ends = [_number(end) for end in interval] if isinstance(interval, list) else []
    facts = data.get("facts")
    return Ruling(
        load=_text(data, "point"),
        word=_text(data, "word"),
        metric=_text(data, "metric"),
        value=_number(data.get("value")),
        reference=_number(data.get("reference")),
        effect_percent=_number(data.get("effect_percent")),
        interval_percent=(ends[0], ends[1]) if len(ends) == 2 and ends[0] is not None and ends[1] is not None else None,
        method=_text(data, "method"),
        evidence=_text(data, "evidence"),
        facts=tuple(redact(str(line)) for line in facts) if isinstance(facts, list) else (),
        gates=data.get("gates") is not False,
    )


def _number(value: object) -> float | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return float(value)


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    return redact(value) if isinstance(value, str) else ""
