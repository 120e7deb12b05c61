"""Implementations by name: entry points of one group, ours, and what a conftest adds. Nothing loads before get()."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Generic, TypeVar

from pytest_disagg.config.text import did_you_mean, one_of
from pytest_disagg.errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """What one entry-point group offers, and what :meth:`register` added.

    ``builtin`` maps our own names to ``module:attribute``, so that they exist in a checkout that is not installed, too.
    A registered name lies over an entry point, an entry point of another distribution over a builtin.
    """

    def __init__(self, group: str, noun: str, builtin: Mapping[str, str]) -> None:
        self._group = group
        self._noun = noun
        self._builtin = dict(builtin)
        self._registered: dict[str, Callable[[], T]] = {}
        self._found: dict[str, list[str]] | None = None
        self._made: dict[str, T] = {}

    def names(self) -> list[str]:
        """All known names, sorted."""
        return sorted({*self._references(), *self._registered})

    def register(self, name: str, factory: Callable[[], T]) -> None:
        """Make ``name`` known; ``factory`` is called once, at the first :meth:`get`."""
        self._registered[name] = factory
        self._made.pop(name, None)

    def unregister(self, name: str) -> None:
        """Forget what :meth:`register` made known; an entry point of that name shows again."""
        self._registered.pop(name, None)
        self._made.pop(name, None)

    def get(self, name: str) -> T:
        """The implementation of that name; the same object every time.

        Raises:
            UsageError: unknown name, or its module cannot be imported.
        """
        if name not in self._made:
            factory = self._registered.get(name)
            self._made[name] = factory() if factory is not None else self._load(name)()
        return self._made[name]

    def missing(self, name: str) -> str:
        """That there is none of that name here, which a case file may rightly ask for; with the names there are."""
        known = self.names()
        hint = did_you_mean(name, known)
        return f"{self._noun} {name!r} is not installed (known: {', '.join(known)}{f'; {hint}' if hint else ''})"

    def _load(self, name: str) -> Callable[[], T]:
        references = self._references().get(name)
        if references is None:
            known = self.names()
            hint = did_you_mean(name, known)
            raise UsageError(
                f"unknown {self._noun} {name!r}, expected {one_of(known)}" + (f" ({hint})" if hint else "")
            )
        if len(references) > 1:
            raise UsageError(f"several installed packages offer the {self._noun} {name!r}: {', '.join(references)}")
        reference = references[0]
        module, _, attribute = reference.partition(":")
        try:
            factory: Callable[[], T] = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise UsageError(f"{self._noun} {name!r} ({reference}) cannot be loaded: {error}") from error
        return factory

    def _references(self) -> Mapping[str, list[str]]:
        """Name -> ``module:attribute`` of each distribution that offers it; the builtin only where nobody else does."""
        if self._found is None:
            # Some 10 ms, which a pytest start that needs no engine should not pay.
            from importlib.metadata import entry_points

            found: dict[str, list[str]] = {}
            for entry in entry_points(group=self._group):
                references = found.setdefault(entry.name, [])
                if entry.value not in (*references, self._builtin.get(entry.name)):
                    references.append(entry.value)
            for name, reference in self._builtin.items():
                found[name] = found.get(name) or [reference]
            self._found = found
        return self._found
