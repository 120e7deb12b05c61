"""Sends what was measured to every store that the environment asks for; what cannot be sent waits in the spool."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.errors import DisaggError
from pytest_disagg.records.record import Value
from pytest_disagg.store import registry
from pytest_disagg.store.protocol import Sent
from pytest_disagg.store.spool import Spool, Uploaded
from pytest_disagg.verdict.history import HistoryError


@dataclass(frozen=True)
class Upload:
    """Records of one run and case, spooled for some stores. ``uploaded`` has an entry for each."""

    uploaded: tuple[Uploaded, ...]

    @property
    def ok(self) -> bool:
        return all(each.ok for each in self.uploaded)

    def lines(self) -> list[str]:
        """What a person should see: one line a store, then each problem and each field left out."""
        lines = []
        for each in self.uploaded:
            lines += [f"upload to {each.words()}", *(f"upload to {each.store}: {problem}" for problem in each.problems)]
            lines += [f"upload to {each.store}: left out: {words}" for words in each.sent.left_out]
        return lines


def upload(
    history: Path, name: str, records: Sequence[Mapping[str, Value]], environ: Mapping[str, str], *, limit_s: float
) -> Upload:
    """Spool records under ``name`` for each selected store, then try to send them within ``limit_s`` seconds.

    No store selected is an empty, good result. Nothing is raised: what went wrong is in the result.
    """
    until = time.monotonic() + limit_s
    try:
        stores = registry.selected(environ)
    except DisaggError as error:
        return Upload((Uploaded("store", Sent(), (str(error),), 0),))
    uploaded: list[Uploaded] = []
    spooled: list[tuple[str, Path]] = []
    # All are spooled before the first is tried: a store that takes all the time must not cost the next one its copy.
    for store in stores:
        try:
            spooled.append((store, Spool.of(history, store).put(name, records)))
        except HistoryError as error:
            uploaded.append(Uploaded(store, Sent(), (str(error),), 0))
    return Upload((*uploaded, *_send_all(history, [(store, [path]) for store, path in spooled], environ, until)))


def flush(history: Path, environ: Mapping[str, str], *, until: float) -> Upload:
    """Send all that waits in the spools of the selected stores.

    Raises:
        UsageError: a store of another package cannot be loaded.
        HistoryError: a spool cannot be read.
    """
    waiting = [(store, Spool.of(history, store).pending()) for store in registry.selected(environ)]
    return Upload(tuple(_send_all(history, waiting, environ, until)))


def _send_all(
    history: Path, waiting: Sequence[tuple[str, Sequence[Path]]], environ: Mapping[str, str], until: float
) -> Iterator[Uploaded]:
    """Send to one store after the other. Each gets an equal share of the time: a dead one leaves some to the next."""
    for done, (store, paths) in enumerate(waiting):
        now = time.monotonic()
        yield _send(history, store, paths, environ, now + (until - now) / (len(waiting) - done))


def _send(history: Path, name: str, paths: Sequence[Path], environ: Mapping[str, str], until: float) -> Uploaded:
    try:
        return Spool.of(history, name).send(name, registry.get(name).open(environ), paths, until=until)
    except DisaggError as error:
        return Uploaded(name, Sent(), (str(error),), len(paths))
