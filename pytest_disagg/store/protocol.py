"""What a store is to the rest: a copy of the records elsewhere, which can be sent to and searched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pytest_disagg.errors import DisaggError
from pytest_disagg.records.record import Record
from pytest_disagg.store.documents import Document


class StoreError(DisaggError):
    """A store that could not be used: nothing of what was to be sent can be counted on to be there."""


@dataclass(frozen=True)
class Rejected:
    """A document that the store will not take, and why."""

    id: str
    reason: str


@dataclass(frozen=True)
class Sent:
    """What became of documents. ``known`` were there before and are unchanged.

    ``left_out`` has one line for each field that a stored document lacks.
    """

    stored: int = 0
    known: int = 0
    rejected: tuple[Rejected, ...] = ()
    left_out: tuple[str, ...] = ()

    def __add__(self, other: Sent) -> Sent:
        return Sent(
            self.stored + other.stored,
            self.known + other.known,
            self.rejected + other.rejected,
            self.left_out + other.left_out,
        )


Term = str | int | bool | tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """Which records to read: those with these values (or one of them) in their fields, made in [since_ms, until_ms)."""

    terms: Mapping[str, Term] = field(default_factory=dict)
    since_ms: int | None = None
    until_ms: int | None = None


class Store(Protocol):
    """A store that is configured. Times are ``time.monotonic()``; credentials never occur in what it says."""

    def where(self) -> str:
        """What a person calls it: its URL."""
        ...

    def send(self, documents: Sequence[Document], *, until: float) -> Sent:
        """Store every document once, however often it is sent.

        Raises:
            StoreError: it could not be reached, refused us, or did not answer in time.
        """
        ...

    def read(self, wanted: Wanted, *, until: float) -> Iterator[Record]:
        """Every record that is wanted, oldest first, each once.

        Raises:
            StoreError: it could not be read whole.
        """
        ...


class StoreType(Protocol):
    """What an entry point of group ``pytest_disagg.stores`` names: makes the store that the environment asks for."""

    def selected(self, environ: Mapping[str, str]) -> bool:
        """Whether this environment asks for it (its URL is set)."""
        ...

    def open(self, environ: Mapping[str, str]) -> Store:
        """The store; connects to nothing yet.

        Raises:
            UsageError: what is configured cannot be used (a file that is not there, a library that is not installed).
        """
        ...
