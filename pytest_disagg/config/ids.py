"""The grammar of test ids. Standard library only: every pytest process that names a case reads this.

An id is ``<prefix>-<mode>-[<modifier>-]<stem>`` for a disaggregated file, ``<prefix>-<stem>[-<server>[,<server>]]`` for
an aggregated one, and, in the older grammar, ``<prefix>-<stem>`` for a disaggregated file. Stems may hold hyphens and
so may look like modes, so an id is read in every way the grammar allows and the files decide which way is meant.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Literal, Protocol

from pytest_disagg.config.case import CaseId, Mode, Prefix
from pytest_disagg.config.text import did_you_mean, one_of, shown
from pytest_disagg.errors import ConfigError, Problem

Kind = Literal["disagg", "aggr", "cluster", "unknown"]
"""What a file describes. ``unknown`` is a file that cannot be read as either: loading it says why."""

PREFIXES: tuple[Prefix, ...] = ("disagg", "disagg_upload", "aggr", "aggr_upload")
DISAGG_MODES: tuple[Mode, ...] = ("e2e", "gen_only", "gen_only_no_context")
MODIFIERS = ("time_breakdown",)

_DISAGG_PREFIXES = ("disagg_upload", "disagg")
_AGGR_PREFIXES = ("aggr_upload", "aggr")

DISAGG_FILE_CASES: tuple[str, ...] = (
    *(f"{prefix}-{mode}" for prefix in _DISAGG_PREFIXES for mode in DISAGG_MODES),
    *(f"{prefix}-ctx_only" for prefix in _AGGR_PREFIXES),
)
"""What a disaggregated file without ``cases:`` offers, and all that its ``cases:`` may name."""

AGGR_FILE_CASES: tuple[str, ...] = _AGGR_PREFIXES
"""The same for an aggregated file."""


class Files(Protocol):
    """What a grammar needs to know about files."""

    def kind(self, stem: str) -> Kind | None:
        """The kind of the file of that name, None where there is none; an error where there are two."""
        ...

    def servers(self, stem: str) -> Collection[str]:
        """The server names of an aggregated file."""
        ...

    def missing(self, stems: Sequence[str], text: str) -> Problem:
        """The problem that none of these names, readings of the id ``text``, is a file's."""
        ...


def has_prefix(text: str) -> bool:
    """Whether the text begins as an id does."""
    return text.partition("-")[0] in PREFIXES and "-" in text


def unwrapped(text: str) -> str:
    """The id inside a pytest node id (``...::test_e2e[<id>]``, a test-list line's marker cut off); other text as is."""
    _, bracket, inner = text.rpartition("[")
    return inner.partition("]")[0] if bracket and "]" in inner else text


def parse(text: str, files: Files) -> CaseId:
    """Read an id. In a legacy id the mode is a provisional ``e2e``: the file's ``benchmark.mode`` has the say.

    Among server selections of aggregated files the longest existing file name wins (``aggr-a-b`` is all of
    ``a-b.yaml``, not server ``b`` of ``a.yaml``).

    Raises:
        ConfigError: no id at all, no such file or server, a file of the other kind, or two readings that both exist.
    """
    prefix, hyphen, rest = text.partition("-")
    if prefix not in PREFIXES or not hyphen or not rest:
        hint = did_you_mean(prefix, PREFIXES)
        raise _error(text, shown(prefix), f"{one_of(PREFIXES)}, then '-' and the rest of the id", hint)
    if prefix in _AGGR_PREFIXES and rest.startswith("gen_only_no_context-"):
        # Some launchers play this mode in one process, others forbid that; as roles of its own it means one thing.
        found = f"mode gen_only_no_context after {prefix!r}"
        raise _error(text, found, f"the id {prefix.replace('aggr', 'disagg')}-{rest}")
    readings = list(_readings(text, prefix, rest.split("-")))
    existing = [reading for reading in readings if files.kind(reading.stem) is not None]
    if not existing:
        raise ConfigError([_nothing_found(text, prefix, rest, readings, files)])
    fitting = [reading for reading in existing if files.kind(reading.stem) in (_kind(reading), "unknown")]
    if not fitting:
        stem = existing[0].stem
        raise _error(text, f"{stem!r}, {_describe(files.kind(stem))}", f"for this id {_describe(_kind(existing[0]))}")
    return _choose(text, fitting, files)


def _choose(text: str, readings: list[CaseId], files: Files) -> CaseId:
    selections = [reading for reading in readings if _kind(reading) == "aggr"]
    named = [r for r in selections if not r.servers or not _unknown_servers(r, files)]
    others = [reading for reading in readings if _kind(reading) != "aggr"]
    # _readings yields the longest stem first.
    candidates = [*others, *named[:1]]
    if len(candidates) > 1:
        found = " and ".join(f"{r.stem!r} {_as(r)}" for r in candidates)
        raise _error(text, f"two readings that both exist: {found}", "one; rename a file or give its path")
    if candidates:
        chosen = candidates[0]
        if len(set(chosen.servers)) != len(chosen.servers):
            raise _error(text, "a server named twice", "each server once")
        return chosen
    wrong = selections[0]
    unknown, known = _unknown_servers(wrong, files), files.servers(wrong.stem)
    what = f"no server {', '.join(map(repr, unknown))} in {wrong.stem!r}"
    expected = one_of(sorted(known)) if known else "no server name: the file names none"
    raise _error(text, what, expected, did_you_mean(unknown[0], known))


def _readings(text: str, prefix: Prefix, labels: list[str]) -> Iterator[CaseId]:
    """Every way the grammar reads the id, whatever files there are; longer stems of aggregated files first."""
    whole = "-".join(labels)
    plain = CaseId(text, prefix, "e2e", None, whole)
    disagg = prefix.startswith("disagg")
    modes: tuple[Mode, ...] = DISAGG_MODES if disagg else ("ctx_only",)
    if labels[0] in modes and len(labels) > 1:
        with_mode = replace(plain, mode=labels[0], stem="-".join(labels[1:]))
        yield with_mode
        if labels[1] in MODIFIERS and len(labels) > 2:
            yield replace(with_mode, modifier=labels[1], stem="-".join(labels[2:]))
    if disagg:
        yield replace(plain, legacy=True)
        return
    for count in range(len(labels), 0, -1):
        selected = "-".join(labels[count:])
        servers = tuple(name.strip() for name in selected.split(",")) if count < len(labels) else ()
        yield replace(plain, mode="aggregated", stem="-".join(labels[:count]), servers=servers)


def _unknown_servers(reading: CaseId, files: Files) -> list[str]:
    if files.kind(reading.stem) == "unknown":
        return []
    known = files.servers(reading.stem)
    return [name for name in reading.servers if name not in known]


def _kind(reading: CaseId) -> Kind:
    return "aggr" if reading.mode == "aggregated" else "disagg"


def _as(reading: CaseId) -> str:
    if reading.legacy:
        return "in the older grammar without a mode"
    if reading.mode == "aggregated":
        return f"as an aggregated file, server {','.join(reading.servers)!r}" if reading.servers else "as a whole"
    return f"in mode {reading.mode}" + (f" with {reading.modifier}" if reading.modifier else "")


def _describe(kind: Kind | None) -> str:
    return {
        "disagg": "a disaggregated file (worker_config)",
        "aggr": "an aggregated file (server_configs)",
        "cluster": "a cluster file",
    }.get(kind or "", "a file of unknown kind")


def _nothing_found(text: str, prefix: str, rest: str, readings: list[CaseId], files: Files) -> Problem:
    problem = files.missing(list(dict.fromkeys(reading.stem for reading in readings)), text)
    label, _, stem = rest.partition("-")
    disagg = prefix.startswith("disagg")
    if stem and label in (("ctx_only",) if disagg else DISAGG_MODES):
        other = prefix.replace("disagg", "aggr") if disagg else prefix.replace("aggr", "disagg")
        hint = f"mode {label} goes with {other}: {other}-{rest}"
    elif stem and not problem.hint:
        hint = did_you_mean(label, DISAGG_MODES if disagg else ("ctx_only",))
    else:
        hint = ""
    return replace(problem, hint=hint) if hint else problem


def _error(text: str, found: str, expected: str, hint: str = "") -> ConfigError:
    return ConfigError([Problem(None, None, f"test id {text!r}", found, expected, hint)])
