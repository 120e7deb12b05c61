"""What a run is judged by: which metrics, which smallest effects, against which branch, and whether it may be red."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_disagg.config.text import did_you_mean
from pytest_disagg.errors import ConfigError, Problem, UsageError
from pytest_disagg.records.metrics import DEVICE_STEP, METRICS, Metric, Role, gating
from pytest_disagg.records.record import Value
from pytest_disagg.verdict import names
from pytest_disagg.verdict.history import branch_of
from pytest_disagg.verdict.names import REFERENCE_BRANCH

if TYPE_CHECKING:
    from pytest_disagg.config.blocks import VerdictBlock

FUNCTIONAL_ONLY = "FUNCTIONAL-ONLY"
RULES_FIELD = "s_verdict_rules"
"""The field of a record that keeps its case file's ``verdict`` block (JSON), so that it can be judged again."""
REMEASURE = 5


@dataclass(frozen=True)
class MetricRule:
    """How one metric is judged. ``min_effect`` is relative: 0.03 is 3 %."""

    metric: Metric
    min_effect: float
    role: Role

    @property
    def name(self) -> str:
        return self.metric.name

    @property
    def sign(self) -> int:
        """1 where larger is better, else -1."""
        return 1 if self.metric.direction == "larger" else -1


@dataclass(frozen=True)
class Policy:
    """``branch``: whose history judges, empty for any. ``remeasure``: how often a suspected load may be measured again.
    ``overrides``: metric -> keys of the case file's ``verdict.metrics``. ``functional_only``: never red."""

    name: names.Policy = "post"
    branch: str = REFERENCE_BRANCH
    functional_only: bool = False
    remeasure: int = REMEASURE
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def change(self) -> bool:
        """Whether what is judged is a change to the reference branch, not that branch itself."""
        return self.name == "pre"

    def rules(self, record: Mapping[str, Value]) -> list[MetricRule]:
        """The metrics that are judged in a record: those that gate first, then those that are only reported.

        A gen_only case is judged on its device step time, never on what its client saw.
        """
        mode = str(record.get("s_benchmark_mode", "e2e"))
        gates = gating(mode, spec_decoding=record.get("b_eos") is True)  # type: ignore[arg-type]
        on_device = all(DEVICE_STEP in name for name in gates)
        found = []
        for metric in METRICS.values():
            own = self.overrides.get(metric.name, {})
            if metric.direction == "neutral" or f"d_{metric.name}" not in record:
                continue
            if on_device and DEVICE_STEP not in metric.name and not own:
                continue
            role: Role = own.get("role") or ("gate" if metric.name in gates else "report")
            if role == "gate" or metric.role == "gate" or own:
                found.append(MetricRule(metric, self._min_effect(metric, own), role))
        return sorted(found, key=lambda rule: rule.role != "gate")

    def _min_effect(self, metric: Metric, own: Mapping[str, Any]) -> float:
        general = own.get("min_effect") or metric.min_effect
        return float((own.get("pre_merge_min_effect") if self.change else None) or general)


def policy_of(
    name: str | None,
    record: Mapping[str, Value],
    *,
    branch: str = REFERENCE_BRANCH,
    block: VerdictBlock | None = None,
) -> Policy:
    """The policy for a run with that record.

    Without a name it is ``pre`` for a build before a merge (or of another branch than ``branch``), else ``post``. The
    branch of a run after a merge is its own. A stage whose name has FUNCTIONAL-ONLY in it never fails on performance.
    Without a ``block`` the record's own rules hold.

    Raises:
        UsageError: an unknown name.
    """
    if name is not None and name not in names.POLICIES:
        raise UsageError(f"unknown policy {name!r}, expected one of {', '.join(names.POLICIES)}")
    own = block.model_dump(exclude_none=True, exclude_defaults=True) if block is not None else _kept(record)
    return Policy(
        name=name or ("pre" if _is_change(record, branch) else "post"),
        branch=branch_of(record, branch),
        functional_only=FUNCTIONAL_ONLY in str(record.get("s_stage_name", "")),
        remeasure=int(own.get("remeasure", REMEASURE)),
        overrides=own.get("metrics", {}),
    )


def check_block(block: VerdictBlock | None, path: Path) -> None:
    """Whether every metric in a case file's block is one.

    Raises:
        ConfigError: those that are none; ``path`` is the file.
    """
    problems = []
    for name in block.metrics if block is not None else ():
        if name not in METRICS:
            hint = did_you_mean(name, METRICS)
            problems.append(
                Problem(path, None, f"verdict.metrics.{name}", f"the unknown metric {name!r}", "a metric", hint)
            )
    if problems:
        raise ConfigError(problems)


def rules_text(block: VerdictBlock | None) -> str | None:
    """The block as a record keeps it; None where it says nothing."""
    own = block.model_dump(exclude_none=True, exclude_defaults=True) if block is not None else {}
    return json.dumps(own, sort_keys=True) if own else None


def _kept(record: Mapping[str, Value]) -> dict[str, Any]:
    try:
        found = json.loads(str(record.get(RULES_FIELD) or "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_change(record: Mapping[str, Value], branch: str) -> bool:
    """A build for a change; without a word from a build system, another branch or a modified checkout."""
    if record.get("b_is_post_merge") is True:
        return False
    if record.get("s_trigger_mr_id") or record.get("b_git_dirty") is True:
        return True
    return str(record.get("s_branch", "")) not in ("", branch)
