"""From the lines of lists to the cases of one command: resolved, filtered, waived, each case once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from pytest_disagg.config import ids
from pytest_disagg.config.case import Case
from pytest_disagg.errors import ConfigError, UsageError
from pytest_disagg.launch.lists.entry import Entry
from pytest_disagg.launch.lists.keyword import Predicate
from pytest_disagg.launch.lists.markers import Markers
from pytest_disagg.launch.lists.waives import Waives, in_scope

ModeFilter = Literal["disagg", "aggr", "all"]
MODE_FILTERS: tuple[ModeFilter, ...] = ("all", "disagg", "aggr")
_RUNTIMES = {"disagg": "disagg", "aggr": "alone"}


class Loader(Protocol):
    """Where cases come from. Both raise ConfigError or UsageError."""

    def cases(self, entry: Entry) -> list[Case]:
        """The cases that a line means."""
        ...

    def bounded(self, case: Case, limit_s: float) -> Case:
        """The same case with a run of at most ``limit_s`` seconds; raises also where its stages do not fit."""
        ...


@dataclass(frozen=True)
class Pick:
    """One case of a line; where the line means none, the line itself with the ``problem``.

    ``name`` is the case's id, else what the line says.
    """

    name: str
    entry: Entry
    markers: Markers = field(default_factory=Markers)
    case: Case | None = None
    problem: str = ""


@dataclass(frozen=True)
class Filters:
    """What is left of the lines. ``platform`` is the one that ``full:<scope>/`` lines are compared with."""

    mode: ModeFilter = "all"
    keyword: Predicate | None = None
    waives: Waives = field(default_factory=Waives)
    platform: str | None = None

    def allow(self, runtime: str | None, names: tuple[str, ...]) -> bool:
        """Whether a case of that runtime and with these names is meant; an unknown runtime fits every mode."""
        if self.mode != "all" and runtime not in (None, _RUNTIMES[self.mode]):
            return False
        return self.keyword is None or self.keyword(names)


@dataclass(frozen=True)
class Selection:
    """``picks`` are in the order of the lines, each case once. ``left_out`` counts what filters and scopes removed."""

    picks: tuple[Pick, ...]
    notes: tuple[str, ...]
    left_out: int


def select(entries: Iterable[Entry], loader: Loader, filters: Filters) -> Selection:
    """Resolve and filter lines. A line of a list that cannot be resolved becomes a pick with its problem.

    Raises:
        ConfigError, UsageError: a target of the command line that cannot be resolved.
    """
    selector = _Selector(loader, filters)
    for entry in entries:
        selector.take(entry)
    return Selection(tuple(selector.picks.values()), tuple(selector.notes), selector.left_out)


class _Selector:
    def __init__(self, loader: Loader, filters: Filters) -> None:
        self._loader = loader
        self._filters = filters
        self.picks: dict[str, Pick] = {}
        self.notes: list[str] = []
        self.left_out = 0

    def take(self, entry: Entry) -> None:
        if not in_scope(entry.scope, self._filters.platform):
            self.left_out += 1
            self.notes.append(f"{entry.where}: left out, it is for {entry.scope} only")
            return
        try:
            cases = self._loader.cases(entry)
        except (ConfigError, UsageError) as error:
            if entry.path is None:
                raise
            self._take_broken(entry, str(error))
            return
        for case in cases:
            if self._filters.allow(case.id.runtime, (case.id.text, case.path.name)):
                self._add(self._pick(entry, case))
            else:
                self.left_out += 1

    def _take_broken(self, entry: Entry, problem: str) -> None:
        name = ids.unwrapped(entry.target)
        if not self._filters.allow(_runtime(entry, name), (name,)):
            self.left_out += 1
            return
        markers = self._filters.waives.over(name, entry.markers)
        self._add(Pick(name, entry, markers, problem=problem))

    def _pick(self, entry: Entry, case: Case) -> Pick:
        markers = self._filters.waives.over(case.id.text, entry.markers)
        pick = Pick(case.id.text, entry, markers, case)
        if markers.timeout_min is None or markers.skip is not None:
            return pick
        limit_s = 60.0 * markers.timeout_min
        if limit_s >= case.total_s:
            return pick
        try:
            return replace(pick, case=self._loader.bounded(case, limit_s))
        except ConfigError as error:
            hint = f"set by TIMEOUT ({markers.timeout_min})"
            problems = [replace(problem, hint=hint) for problem in error.problems]
            return replace(pick, case=None, problem="\n".join(map(str, problems)))

    def _add(self, pick: Pick) -> None:
        first = self.picks.setdefault(pick.name, pick)
        if first is not pick:
            self.notes.append(f"{pick.entry.where}: {pick.name} again, first at {first.entry.where}: it runs once")


def _runtime(entry: Entry, name: str) -> str | None:
    """What a line that means no case would have been, as far as it says."""
    if entry.mode is not None:
        return _RUNTIMES.get(entry.mode, "alone" if entry.mode == "ctx_only" else "disagg")
    if not ids.has_prefix(name):
        return None
    return "disagg" if name.startswith("disagg") else "alone"
