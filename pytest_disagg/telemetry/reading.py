"""What a sampler gives, and how it is kept: ``results/telemetry/<ROLE>.jsonl``, one JSON object per reading.

A file is appended to while its role lives, opened and closed for each batch: closing is what sends it to the server of
a network file system, so that BENCHMARK can read what other nodes wrote until a moment ago.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from pytest_disagg.redact import redact
from pytest_disagg.telemetry.prometheus import name_of

Source = Literal["host", "process", "gpu", "engine", "note"]
FOLDER = "telemetry"
"""In the results of a run."""


class Reading(NamedTuple):
    """Values of one thing at one moment. ``name`` tells several of a source apart: the GPU, the server. A ``note`` has
    a ``text`` and no values."""

    source: Source
    name: str
    values: Mapping[str, float]
    text: str = ""


@dataclass(frozen=True)
class Sample:
    """A reading as it was kept. ``monotonic_s`` is CLOCK_MONOTONIC of ``node``, ``epoch_s`` the same moment by its
    wall clock. ``kind`` says whom it is of: ``ctx``, ``gen``, ``server`` (aggregated), ``coordinator``, ``client``.
    """

    monotonic_s: float
    epoch_s: float
    node: str
    kind: str
    source: Source
    name: str
    values: Mapping[str, float]
    text: str = ""

    def line(self) -> str:
        """Its line, with the end of the line. What is not finite has no place in JSON and is left out."""
        data: dict[str, Any] = {
            "monotonic_s": round(self.monotonic_s, 4),
            "epoch_s": round(self.epoch_s, 4),
            "node": self.node,
            "kind": self.kind,
            "source": self.source,
        }
        if self.name:
            data["name"] = self.name
        if self.text:
            data["text"] = redact(self.text)
        else:
            data["values"] = {name: value for name, value in self.values.items() if math.isfinite(value)}
        return json.dumps(data, separators=(",", ":")) + "\n"


def path_of(results: Path, role: str) -> Path:
    """Where ``role`` keeps its readings."""
    return results / FOLDER / f"{role}.jsonl"


def windows_of(results: Path) -> Path:
    """When each load was measured, for whoever draws the readings."""
    return results / FOLDER / "windows.json"


def append(path: Path, samples: Iterable[Sample]) -> int:
    """Append whole lines in one write; how many bytes the file has then. Raises OSError."""
    text = "".join(sample.line() for sample in samples).encode()
    with path.open("ab", buffering=0) as file:
        file.write(text)
        return file.tell()


def read(path: Path, engine: Container[str] = ()) -> Iterator[Sample]:
    """The samples in ``path``, in order; none where there is no file. A line that is no sample is left out: the last
    one may be half written.

    Of engines only the metrics named in ``engine`` are given, all of them each time: a line holds what changed.

    Raises:
        OSError: the file is there and cannot be read.
    """
    engines: dict[tuple[str, str], dict[str, float]] = {}
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            sample = _decoded(line)
            if sample is None:
                continue
            if sample.source == "engine":
                known = engines.setdefault((sample.kind, sample.name), {})
                known.update({name: each for name, each in sample.values.items() if name_of(name) in engine})
                sample = replace(sample, values=dict(known))
            yield sample


def _decoded(line: bytes) -> Sample | None:
    try:
        data = json.loads(line)
        values = {str(name): float(value) for name, value in data.get("values", {}).items()}
        sample = Sample(
            float(data["monotonic_s"]),
            float(data["epoch_s"]),
            str(data["node"]),
            str(data["kind"]),
            data["source"],
            str(data.get("name", "")),
            values,
            str(data.get("text", "")),
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return sample if sample.source in get_args(Source) else None
