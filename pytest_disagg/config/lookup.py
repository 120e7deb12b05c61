"""Which directories hold config files, and which file a name or a test id means.

A directory is searched with all its sub-folders except ``baselines`` and hidden ones; links to folders are not
followed. A config's name is its file name without ``.yaml`` or ``.yml``, so a name may exist only once in all
directories together.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.config import ids, yaml
from pytest_disagg.config.case import CaseId
from pytest_disagg.config.ids import Kind
from pytest_disagg.config.names import server_names
from pytest_disagg.config.scan import Scan, scan
from pytest_disagg.config.text import did_you_mean
from pytest_disagg.errors import ConfigError, Problem

SUFFIXES = (".yaml", ".yml")
_NEVER = "baselines"
_LLM_SRC_DIRS = (
    "tests/scripts/perf-sanity/aggregated",
    "tests/scripts/perf-sanity/disaggregated",
    "tests/integration/defs/perf/disagg/test_configs/disagg/perf",
    "tests/integration/defs/perf/disagg/test_configs/wideep/perf",
)


def search_dirs(
    option: Sequence[str | Path], environ: Mapping[str, str], llm_src: str | Path | None = None
) -> tuple[Path, ...]:
    """Every directory that configs are looked for in, in order, existing or not, each once.

    The config-dir option, then ``AGG_CONFIG_FOLDER`` and ``DISAGG_CONFIG_FOLDER`` (a relative one lies in ``llm_src``
    where that is given), then the four places of a TensorRT-LLM checkout.
    """
    root = Path(llm_src) if llm_src else None
    found = [Path(directory) for directory in option]
    for variable in ("AGG_CONFIG_FOLDER", "DISAGG_CONFIG_FOLDER"):
        if folder := environ.get(variable):
            found.append((root or Path()) / folder)
    if root is not None:
        found += [root / directory for directory in _LLM_SRC_DIRS]
    return tuple({directory.absolute(): None for directory in found})


def case_dirs(
    option: Sequence[str | Path], environ: Mapping[str, str], llm_src: str | Path | None = None
) -> tuple[Path, ...]:
    """The directories of :func:`search_dirs` whose files are all cases, and which have the baselines of these.

    A checkout's own files are found by name; listing them all is for whoever names their directory.
    """
    found = search_dirs(option, environ, llm_src)
    checkout = set(search_dirs((), {}, llm_src)) - {Path(directory).absolute() for directory in option}
    return tuple(folder for folder in found if folder.is_dir() and folder not in checkout)


@dataclass(frozen=True)
class Found:
    """What a target means: a file, and the id where the target was one."""

    path: Path
    id: CaseId | None = None


class ConfigFiles:
    """The config files of some directories, by name. Names are listed once; a file is opened when it is asked about."""

    def __init__(self, dirs: Sequence[Path]) -> None:
        self._dirs = tuple(dirs)
        self._index: dict[str, list[Path]] | None = None
        self._scans: dict[Path, Scan] = {}

    @classmethod
    def of(cls, path: Path) -> ConfigFiles:
        """One file, as if it were all there is."""
        files = cls(())
        files._index = {path.stem: [path]}
        return files

    @property
    def by_stem(self) -> Mapping[str, Sequence[Path]]:
        """Every name with its files, sorted by directory, then by path. More than one file for a name is an error."""
        if self._index is None:
            self._index = {}
            seen: set[str] = set()
            for directory in self._dirs:
                for path, real in _yaml_files(directory):
                    if real not in seen:
                        seen.add(real)
                        self._index.setdefault(path.stem, []).append(path)
        return self._index

    def path(self, stem: str) -> Path | None:
        """The file of that name, None where there is none.

        Raises:
            ConfigError: two files of that name; names both.
        """
        paths = self.by_stem.get(stem, ())
        if len(paths) > 1:
            raise ConfigError([twice(paths)])
        return paths[0] if paths else None

    def scan(self, path: Path) -> Scan:
        """The first look at a file, kept."""
        if path not in self._scans:
            self._scans[path] = scan(path)
        return self._scans[path]

    def kind(self, stem: str) -> Kind | None:
        path = self.path(stem)
        return self.scan(path).kind if path else None

    def servers(self, stem: str) -> Sequence[str]:
        path = self.path(stem)
        if path is None or self.scan(path).kind != "aggr":
            return ()
        return server_names(yaml.load(path).data)

    def missing(self, stems: Sequence[str], text: str) -> Problem:
        searched = [str(directory) + ("" if directory.is_dir() else " (not there)") for directory in self._dirs]
        names = " or ".join(f"{stem}{{{','.join(SUFFIXES)}}}" for stem in _shortened(stems))
        hint = next((hint for stem in stems if (hint := did_you_mean(stem, self.by_stem, 0.75))), "")
        where = "; searched: " + ", ".join(searched) if searched else "; no config directory is known"
        return Problem(None, None, repr(text), "no such config file", f"{names}{where}", hint)

    def find(self, target: str) -> Found:
        """The file that a path, a bare config name, a test id or a node id around one means.

        Raises:
            ConfigError: nothing found (with every directory searched and the closest name), or two things.
        """
        if Path(target).suffix in SUFFIXES:
            path = Path(target)
            if path.is_file():
                return Found(path)
            if path.name != target:
                raise ConfigError([Problem(path, None, "", "no such file", "a YAML file")])
            target = path.stem
        text = ids.unwrapped(target)
        named = self.path(text)
        if not ids.has_prefix(text):
            if named is None:
                raise ConfigError([self.missing([text], text)])
            return Found(named)
        try:
            case_id = ids.parse(text, self)
        except ConfigError:
            if named is not None:
                return Found(named)
            raise
        path_of_id = self.path(case_id.stem)
        if named is not None and named != path_of_id:
            found = f"the config {named} and an id of {path_of_id}"
            raise ConfigError([Problem(None, None, repr(text), found, "one of them; give the file's path")])
        if path_of_id is None:
            raise ConfigError([self.missing([case_id.stem], text)])
        return Found(path_of_id, case_id)


def twice(paths: Sequence[Path]) -> Problem:
    """The problem that several files have one name."""
    others = " and ".join(map(str, paths[1:]))
    return Problem(paths[0], None, "", f"the config name {paths[0].stem!r} again in {others}", "each name once")


def _yaml_files(folder: Path) -> Iterator[tuple[Path, str]]:
    """Every config file with where it really lies: those of a folder by name, then its sub-folders likewise."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError:
        return  # not there, as most of the places are that a name is looked up in
    # Resolved once a folder: a file's own path needs that only where it is a link, and there may be thousands.
    real_folder = os.path.realpath(folder)
    subfolders = []
    for entry in entries:
        name = entry.name
        if name.startswith("."):
            continue
        if entry.is_symlink():
            path = folder / name
            if name.endswith(SUFFIXES) and not path.is_dir():
                yield path, os.path.realpath(path)
        elif entry.is_dir():
            if name != _NEVER:
                subfolders.append(name)
        elif name.endswith(SUFFIXES):
            yield folder / name, f"{real_folder}/{name}"
    for name in subfolders:
        yield from _yaml_files(folder / name)


def _shortened(stems: Sequence[str]) -> Sequence[str]:
    """At most three names: an aggregated id has as many readings as hyphens."""
    return stems if len(stems) <= 3 else stems[:3]
