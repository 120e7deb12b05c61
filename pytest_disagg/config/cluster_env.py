"""What a cluster changes in a role's environment: rules by cluster name (shipped: UCX), then the cluster file's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import ValidationError

from pytest_disagg.config import yaml
from pytest_disagg.config.blocks import OurBlock
from pytest_disagg.config.cluster import Cluster, EnvironmentPart, RoleEnvironments
from pytest_disagg.config.fields import Section, Word
from pytest_disagg.config.validate import Report, explain
from pytest_disagg.errors import ConfigError

PARTS = {
    "GEN": ("all", "worker", "gen"),
    "CTX": ("all", "worker", "ctx"),
    "SERVER": ("all", "worker"),
    "DISAGG": ("all", "coordinator"),
    "BENCHMARK": ("all", "benchmark"),
}
"""First word of a role -> the parts that concern it, the more exact one last. SERVER: an aggregated case."""


class Rule(OurBlock):
    """``cluster`` is a shell pattern; case does not matter."""

    cluster: Word
    reason: str = ""
    environment: Annotated[RoleEnvironments, Section] = RoleEnvironments()


class Rules(OurBlock):
    """``environment`` is for every cluster; of ``rules`` the first that matches lies over it."""

    environment: Annotated[RoleEnvironments, Section] = RoleEnvironments()
    rules: tuple[Rule, ...] = ()

    def of(self, cluster: str) -> list[RoleEnvironments]:
        first = (rule.environment for rule in self.rules if fnmatchcase(cluster.lower(), rule.cluster.lower()))
        return [self.environment, *list(first)[:1]]


@dataclass(frozen=True)
class EnvironmentChange:
    """``unset`` comes before ``set``; no name is in both."""

    unset: tuple[str, ...] = ()
    set: dict[str, str] = field(default_factory=dict)


def load_rules(path: Path) -> Rules:
    """The rules of a file.

    Raises:
        ConfigError: what is wrong with it.
    """
    document = yaml.load(path)
    try:
        return Rules.model_validate(document.data)
    except ValidationError as error:
        report = Report(document, {})
        for detail in error.errors(include_url=False):
            report.add(*explain(detail, Rules))
        raise ConfigError(report.problems) from None


def environment_of(cluster: Cluster, role: str, rules: Rules | None) -> EnvironmentChange:
    """What ``cluster`` changes for ``role``; ``rules`` (see :func:`load_rules`) come first, its own over them."""
    layers = [*(rules.of(cluster.name) if rules else ()), cluster.environment]
    names = PARTS[role.partition("_")[0]]
    return _merged(getattr(layer, name) for layer in layers for name in names)


def _merged(parts: Iterable[EnvironmentPart]) -> EnvironmentChange:
    unset: dict[str, None] = {}
    values: dict[str, str] = {}
    for part in parts:
        for name in part.unset:
            unset[name] = None
            values.pop(name, None)
        values.update(part.set)
    return EnvironmentChange(tuple(name for name in unset if name not in values), values)
