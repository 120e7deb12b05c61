"""The load client that runs another project's program. What differs between programs is in its sub-classes."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import ClassVar

from pytest_disagg.clients.checks import TOKENIZER_KEY, wrong_numbers
from pytest_disagg.clients.native.client import NativeClient
from pytest_disagg.clients.protocol import LoadPoint, LoadProgress, LoadResult
from pytest_disagg.clients.tool.environment import without_proxy
from pytest_disagg.clients.tool.program import Program
from pytest_disagg.clients.tool.run import Ran, Watch, last_line, last_words, run
from pytest_disagg.errors import ConfigError, Problem, RunError, UsageError
from pytest_disagg.records.sample import RequestSample
from pytest_disagg.records.summary import achieved_concurrency, max_in_flight
from pytest_disagg.redact import redact

COMMAND = "command.txt"
"""In a load's folder: how the program was started, as one would type it there."""
NO_HEALTH = "{}: the tool says nothing of its own event-loop lag and CPU, so the gate cannot tell whether it kept up"


@dataclass(frozen=True)
class Load:
    """One load of a tool: where it goes, what is asked for, and its own empty folder for what it writes."""

    url: str
    point: LoadPoint
    repeat: int
    folder: Path

    @property
    def seed(self) -> int:
        """Of the tool's prompts. A repeat takes another one: the prompts of the one before may lie in a cache."""
        return self.point.seed + self.repeat


@dataclass(frozen=True)
class Reading:
    """What a tool's result files say. ``samples`` are in request order, failed ones too."""

    samples: tuple[RequestSample, ...]
    duration_s: float
    notes: tuple[str, ...] = ()


class NoResult(Exception):
    """The program ended well and left no result that can be used; the text says what was found instead."""


@dataclass(frozen=True)
class Command:
    """How a program is started for a load: words after those of :class:`Program`, and its environment's additions."""

    words: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


class ToolClient(ABC):
    """Implements :class:`pytest_disagg.clients.protocol.LoadClient` for a program.

    The probe and the warm-up load, whose numbers are thrown away, are sent by the native client: a program that takes
    ten seconds to start would be started for nothing.
    """

    name: ClassVar[str]
    program: ClassVar[Program]
    began: ClassVar[re.Pattern[str]]
    makes_prompts: ClassVar[bool] = True
    """It makes its own random prompts, for which it needs the model's tokenizer."""

    def __init__(self) -> None:
        self._native = NativeClient()

    @abstractmethod
    def command(self, load: Load) -> Command:
        """The command line; touches no file."""

    def files(self, load: Load) -> Mapping[str, Iterable[bytes]]:
        """What the program reads: name below the load's folder -> content, in parts since prompts can be long."""
        return {}

    @abstractmethod
    def read(self, load: Load, ran: Ran) -> Reading:
        """Read what the program left.

        Raises:
            NoResult: it left nothing that can be used.
        """

    def refused(self, point: LoadPoint) -> list[Problem]:
        """What of ``point`` this tool cannot send, where another client can."""
        return []

    def check(self, point: LoadPoint) -> list[Problem]:
        """What of ``point`` this tool cannot send; see :meth:`pytest_disagg.clients.protocol.LoadClient.check`."""
        tokenizer = tokenizer_problems(self.name, point) if self.makes_prompts else []
        return [*wrong_numbers(point), *tokenizer, *self.refused(point)]

    def cause(self, lines: Sequence[str]) -> str:
        """The one line of a failed program's log that says why it failed."""
        return last_line(lines)

    def unavailable(self) -> str | None:
        """Why this client cannot run here, with the command that installs it; None when it can."""
        return self.program.unavailable()

    def version(self) -> str:
        """That of the installed package; ``unknown`` where its interpreter cannot be told, or it is not installed."""
        try:
            return self.program.version()
        except UsageError:
            return "unknown"

    def probe(
        self, url: str, point: LoadPoint, *, should_stop: Callable[[], str | None] | None = None
    ) -> RequestSample:
        """One request, sent by the native client; see :meth:`NativeClient.probe`."""
        return self._native.probe(url, point, should_stop=should_stop)

    def measure(
        self,
        url: str,
        point: LoadPoint,
        repeat: int,
        *,
        on_progress: Callable[[LoadProgress], None] | None = None,
        should_stop: Callable[[], str | None] | None = None,
    ) -> LoadResult:
        """Run the program once; see :meth:`pytest_disagg.clients.protocol.LoadClient.measure`.

        ``timeout_s`` holds the program's start too. A negative ``repeat`` (the warm-up) goes to the native client.

        Raises:
            ConfigError: this tool cannot send such a load; says which clients can.
            UsageError: its program is not installed.
            RunError: stopped or too long (functional); the program failed or left no result (infrastructure).
        """
        if repeat < 0:
            return self._native.measure(url, point, repeat, on_progress=on_progress, should_stop=should_stop)
        if problems := self.check(point):
            raise ConfigError(problems)
        first = self.program.argv()
        with _folder(self.name, point.files.absolute() if point.files else None) as folder:
            load = Load(url, point, repeat, folder)
            command = self.command(load)
            argv = (*first, *command.words)
            _write(folder, {COMMAND: [f"{redact(shlex.join(argv))}\n".encode()], **self.files(load)})
            log = folder / f"{self.name}.log"
            watch = Watch(log, self.began, point)
            try:
                ran = run(
                    argv,
                    name=self.name,
                    env=without_proxy({**os.environ, "PYTHONUNBUFFERED": "1", **command.env, **point.env}, url),
                    log=log,
                    cwd=folder,
                    limit_s=point.timeout_s,
                    watch=watch,
                    cause=self.cause,
                    on_progress=on_progress,
                    should_stop=should_stop,
                )
            except RunError as error:
                reading = self._read_of_failed(load, watch, error)
            else:
                reading = self._read(load, ran, log)
        samples = reading.samples
        return LoadResult(
            point=point,
            repeat=repeat,
            samples=samples,
            duration_s=reading.duration_s,
            started_monotonic_s=min(sample.written_s for sample in samples),
            achieved_concurrency=achieved_concurrency(samples) or 0.0,
            max_in_flight=max_in_flight(samples),
            health=None,
            tool=self.name,
            tool_version=self.version(),
            notes=(*reading.notes, NO_HEALTH.format(self.name)),
        )

    def _read_of_failed(self, load: Load, watch: Watch, error: RunError) -> Reading:
        """The result of a program that ended badly because every request failed: that is the gate's to say.

        Raises:
            RunError: ``error``, where it is anything else.
        """
        if error.exit_code is None or watch.began_s is None:
            raise error
        try:
            reading = self.read(load, Ran(watch.began_s, time.monotonic()))
        except NoResult:
            raise error from None
        if len(reading.samples) < load.point.num_prompts or any(sample.ok for sample in reading.samples):
            raise error
        return reading

    def _read(self, load: Load, ran: Ran, log: Path) -> Reading:
        try:
            reading = self.read(load, ran)
            if not reading.samples:
                raise NoResult("a result without a single request")
        except NoResult as error:
            raise RunError(
                f"{self.name} ended well but left no result that can be used: {error}",
                kind="infrastructure",
                stage="measure",
                evidence=last_words(self.name, log),
            ) from error
        return reading


def tokenizer_of(point: LoadPoint) -> str:
    """The folder of the model's tokenizer, absolute since a program runs elsewhere; else the name it is fetched by."""
    name = point.tokenizer or point.model
    return str(Path(name).absolute()) if Path(name).is_dir() else name


def tokenizer_problems(client: str, point: LoadPoint) -> list[Problem]:
    """Why a tool that makes its own prompts has no tokenizer for the model; empty where it has one.

    A folder, or a name with an owner (``org/model``), which the tool fetches by itself.
    """
    tokenizer = tokenizer_of(point)
    if Path(tokenizer).is_dir() or ("/" in tokenizer and not Path(tokenizer).is_absolute()):
        return []
    expected = (
        f"a folder with its tokenizer, or a name such as org/model: {client} makes prompts with the model's tokenizer; "
        "set environment.model_path or --disagg-models-root, or measure with native or aiperf, which need none"
    )
    return [Problem(None, None, TOKENIZER_KEY, f"{tokenizer!r}, which is no folder here", expected)]


def _write(folder: Path, files: Mapping[str, Iterable[bytes]]) -> None:
    for name, parts in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        with (folder / name).open("wb") as file:
            file.writelines(parts)


@contextmanager
def _folder(name: str, parent: Path | None) -> Iterator[Path]:
    """A new folder for one load, kept where there is a place to keep it."""
    if parent is None:
        with tempfile.TemporaryDirectory(prefix=f"disagg-{name}-") as folder:
            yield Path(folder)
        return
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for number in count():
            folder_of_load = parent / (f"{name}.{number}" if number else name)
            if not folder_of_load.exists():
                folder_of_load.mkdir()
                break
    except OSError as error:
        raise UsageError(f"{name}: cannot use {error.filename} for its files: {error.strerror}") from error
    yield folder_of_load
