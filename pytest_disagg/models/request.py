"""What the program that fetches a model is asked for and answers, and the names of its files beside the model's folder.

For a model in ``ROOT/name`` these are ``ROOT/.name.lock``, ``ROOT/.name.fetching.json`` (who fetches it, and where to)
and ``ROOT/.name.partial.<node>``, a folder that becomes ``ROOT/name`` when it is whole.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pytest_disagg.errors import DisaggError
from pytest_disagg.redact import redact

ORIGIN = ".disagg-model.json"
"""In the folder of a model that was fetched: from where. A folder without it was put there by somebody else."""


class FetchError(DisaggError):
    """A model could not be fetched."""


@dataclass(frozen=True)
class FetchRequest:
    """One model to fetch to ``target``: from ``repo`` of the Hugging Face Hub at ``revision``, or by ``command``.

    ``who`` names whoever fetches it to those who wait; ``node`` is a word for this machine. ``result`` is where the
    answer goes.
    """

    target: Path
    who: str
    node: str
    result: Path
    repo: str | None = None
    revision: str = "main"
    command: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    token_file: str | None = None

    @property
    def lock(self) -> Path:
        return self._beside("lock")

    @property
    def holder(self) -> Path:
        return self._beside("fetching.json")

    @property
    def partial(self) -> Path:
        """One for each node: where the lock of a shared file system holds on one node alone, two never share it."""
        return self._beside(f"partial.{self.node}")

    @property
    def source(self) -> dict[str, Any]:
        """Where it comes from, as the model's folder keeps it."""
        if self.repo is not None:
            return {"repo": self.repo, "revision": self.revision, "exclude": list(self.exclude)}
        return {"command": [redact(word) for word in self.command], "revision": self.revision}

    @property
    def source_words(self) -> str:
        if self.repo is not None:
            return f"{self.repo} at {self.revision}"
        return f"the output of {redact(shlex.join(self.command))}"

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> FetchRequest:
        data = json.loads(text)
        paths = {name: Path(data[name]) for name in ("target", "result")}
        lists = {name: tuple(data[name]) for name in ("command", "exclude")}
        return cls(**{**data, **paths, **lists})

    def _beside(self, suffix: str) -> Path:
        return self.target.parent / f".{self.target.name}.{suffix}"


@dataclass(frozen=True)
class Fetched:
    """``fetched``: by this process, else it was there, or came while this one waited. ``size`` is in bytes; ``commit``
    is what the revision meant, empty for a command.
    """

    fetched: bool
    size: int = 0
    seconds: float = 0.0
    commit: str = ""

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Fetched:
        return cls(**{each.name: data[each.name] for each in fields(cls)})


def origin(folder: Path) -> dict[str, Any] | None:
    """What :data:`ORIGIN` of a model's folder says; None where there is no such file."""
    try:
        data = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise FetchError(f"{folder / ORIGIN}: {error}") from error
    return data if isinstance(data, dict) else {}


def check_origin(request: FetchRequest) -> None:
    """Raises FetchError where the folder that is there was fetched from elsewhere."""
    found = origin(request.target)
    if found is None:
        return
    asked = request.source
    if different := [key for key in asked if found.get(key) != asked[key]]:
        raise FetchError(
            f"{request.target} was fetched with {_words(found, different)}, the case asks for "
            f"{_words(asked, different)}; remove the folder or give the model another name"
        )


def _words(source: Mapping[str, Any], keys: Sequence[str]) -> str:
    return ", ".join(f"{key} {source.get(key)!r}" for key in keys)


def size_of(folder: Path) -> int:
    """Bytes of all files below ``folder``; files that come and go while it is read may be missed."""
    total = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(base, name)).st_size  # noqa: PTH118 - many files
            except OSError:
                continue
    return total


def read_holder(path: Path) -> tuple[str, Path] | None:
    """Who fetches a model, and into which folder; None while nobody has said so."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return str(data["who"]), Path(data["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there yet, or being replaced


def in_words(size: int) -> str:
    """``1.2 GB``."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
