"""Cases and nodes in quarantine: dated lines in ``baselines/quarantine.yaml``, each with an owner and an end.

    quarantine:
      - {date: 2026-11-21, case: disagg-e2e-r1, owner: ann, until: 2026-12-05, reason: "hangs on n3, #123"}
      - {date: 2026-11-21, node: "gb200-[01-04]", cluster: hsg, owner: bob, until: 2026-12-01, reason: link flaps}

Quarantine accepts nothing: the words of a verdict stay, and what was measured meanwhile is never a reference.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pytest_disagg.config.text import shown
from pytest_disagg.errors import UsageError
from pytest_disagg.redact import redact
from pytest_disagg.topology.hosts import expand
from pytest_disagg.verdict import dated
from pytest_disagg.verdict.dated import DatedFile, Wrong
from pytest_disagg.verdict.history import plain_case

FILE_NAME = "quarantine.yaml"
MAX_DAYS = 90
"""The longest that one line may last. What nobody mended by then needs another look, and another line."""

State = Literal["active", "expired", "not begun"]

_NEEDED = ("date", "owner", "until", "reason")
_OPTIONAL = ("case", "node", "cluster")


@dataclass(frozen=True)
class Quarantine:
    """One line: of a ``case`` (a test id, ``*`` and ``?`` stand for anything) or of ``node`` (a Slurm host list).

    It holds from ``date`` to ``until``, both included; on the cluster of that name only where it names one.
    """

    date: datetime.date
    until: datetime.date
    owner: str
    reason: str
    case: str = ""
    node: str = ""
    cluster: str = ""

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """The nodes by name."""
        return tuple(expand(self.node)) if self.node else ()

    def state(self, day: datetime.date) -> State:
        return "not begun" if day < self.date else "active" if day <= self.until else "expired"

    def covers(self, case: str, clusters: Collection[str]) -> bool:
        """Whether it is about that case there; its ``_upload`` twin is the same case."""
        about = self.case and fnmatchcase(plain_case(case), plain_case(self.case))
        return bool(about) and self.is_on(clusters)

    def is_on(self, clusters: Collection[str]) -> bool:
        """Whether it holds on a cluster with (any of) these names."""
        return not self.cluster or self.cluster in clusters

    def words(self, nodes: Sequence[str] = ()) -> str:
        """``quarantined by ann until 2026-12-05: hangs on n3, #123``; of nodes, which ones."""
        named = self.node if tuple(nodes) == self.nodes else ", ".join(nodes)
        who = f"{'node' if len(nodes) == 1 else 'nodes'} {named} " if nodes else ""
        return f"{who}quarantined by {self.owner} until {self.until}: {self.reason}"

    def line(self) -> str:
        """The entry as it stands in the file, without indentation."""
        about = {name: getattr(self, name) for name in ("case", "node", "cluster") if getattr(self, name)}
        fields = {"date": self.date.isoformat(), **about, "owner": self.owner, "until": self.until.isoformat()}
        return dated.line({**fields, "reason": self.reason})


@dataclass(frozen=True)
class Standing:
    """What quarantine means for one run.

    ``words`` is empty where neither the case nor a node of the run is in quarantine. ``excused``: the case is, so its
    red does not fail. ``lines`` name the lines of the file whose time is over.
    """

    words: str = ""
    excused: bool = False
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quarantines:
    """The lines of a file, as they hold on ``day``."""

    entries: tuple[Quarantine, ...] = ()
    day: datetime.date = field(default_factory=dated.today)

    def nodes(self, clusters: Collection[str]) -> dict[Quarantine, tuple[str, ...]]:
        """The nodes in quarantine on a cluster, by the line that says so; each node once, under the line that lasts
        longest."""
        lines = [each for each in self._active() if each.node and each.is_on(clusters)]
        taken: set[str] = set()
        found: dict[Quarantine, tuple[str, ...]] = {}
        for each in sorted(lines, key=_until, reverse=True):
            if own := tuple(node for node in each.nodes if node not in taken):
                found[each] = own
                taken.update(own)
        return found

    def standing(self, case: str, clusters: Collection[str], nodes: Collection[str], *, rehearsal: bool) -> Standing:
        """What they mean for a run of ``case`` on ``nodes``. A rehearsal is not the case that is in quarantine."""
        own = [each for each in self._active() if each.covers(case, clusters)] if not rehearsal else []
        longest = max(own, key=_until, default=None)
        # A host may know itself by its full name, of which Slurm has the first part.
        names = {name for node in nodes for name in (node, node.partition(".")[0])}
        words = [longest.words()] if longest is not None else []
        for each, listed in self.nodes(clusters).items():
            if played := [node for node in listed if node in names]:
                words.append(each.words(played))
        return Standing("; ".join(words), longest is not None, tuple(self._over(case, clusters)))

    def _active(self) -> Iterable[Quarantine]:
        return (each for each in self.entries if each.state(self.day) == "active")

    def _over(self, case: str, clusters: Collection[str]) -> Iterable[str]:
        for each in self.entries:
            ours = each.covers(case, clusters) if each.case else each.is_on(clusters)
            if ours and each.state(self.day) == "expired":
                about = each.case or f"node {each.node}"
                yield f"quarantine of {about} by {each.owner} ended on {each.until}: remove the line or mend it"


def load(path: Path) -> tuple[Quarantine, ...]:
    """The lines of a file; of one that is not there, none. Raises as :meth:`.dated.DatedFile.load`."""
    return _FILE.load(path)


def find(directories: Sequence[Path]) -> Path | None:
    """``baselines/quarantine.yaml`` of the first config directory that has one."""
    return dated.find(directories, FILE_NAME)


def found_in(directories: Sequence[Path]) -> Quarantines:
    """What holds today, by the file of these config directories. Raises as :func:`load`."""
    path = find(directories)
    return Quarantines(load(path)) if path is not None else Quarantines()


def append(path: Path, quarantine: Quarantine) -> str:
    """Add a line at the end of the file; what was added. See :meth:`.dated.DatedFile.append`."""
    return _FILE.append(path, [quarantine.line()])


def cluster_names(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What a job calls its cluster: the cluster file's name for it, and Slurm's own."""
    names = ("DISAGG_CLUSTER_NAME", "SLURM_CLUSTER_NAME", "DISAGG_SLURM_CLUSTER_NAME")
    return tuple(dict.fromkeys(environ[name] for name in names if environ.get(name)))


def check(entry: Mapping[Any, Any], wrong: Wrong) -> None:
    """Note what is wrong with an entry beyond missing and unknown keys."""
    about = [name for name in ("case", "node") if entry.get(name) not in (None, "")]
    if len(about) != 1:
        wrong(about[-1] if about else "case", " and ".join(about) or "neither case nor node", "one of case, node")
    if "case" in about and not re.search(r"\w", str(entry["case"])):
        wrong("case", shown(entry["case"]), "a test id, or a pattern that names some")
    if "node" in about:
        try:
            expand(str(entry["node"]))
        except UsageError as error:
            wrong("node", shown(entry["node"]), "a Slurm host list such as gb200-[01-04]", str(error))
    if ":" in str(entry.get("owner") or ""):
        wrong("owner", shown(entry["owner"]), "a name without a colon")
    date, until = _date(entry, "date"), dated.check_date(entry, "until", wrong)
    if date is None or until is None:
        return
    if until < date:
        wrong("until", str(until), f"a day from {date} on, the date of the line")
    elif (until - date).days > MAX_DAYS:
        latest = date + datetime.timedelta(days=MAX_DAYS)
        wrong("until", str(until), f"at most {MAX_DAYS} days after the date of the line, {latest}")


def _date(entry: Mapping[Any, Any], name: str) -> datetime.date | None:
    """The date, of an entry where somebody else notes what is wrong with it."""

    def ignored(name: str, found: str, expected: str, hint: str = "") -> None:
        return

    return dated.check_date(entry, name, ignored)


def made(entry: Mapping[str, Any]) -> Quarantine:
    """The line of an entry without fault."""
    texts = {name: redact(" ".join(str(entry[name]).split())) for name in (*_NEEDED, *_OPTIONAL) if entry.get(name)}
    date, until = (datetime.date.fromisoformat(texts.pop(name)) for name in ("date", "until"))
    return Quarantine(date=date, until=until, **texts)


def _until(quarantine: Quarantine) -> datetime.date:
    return quarantine.until


_FILE = DatedFile("quarantine", _NEEDED, _OPTIONAL, check, made)
