"""An engine's own metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

from pytest_disagg.redact import redact
from pytest_disagg.telemetry.names import ENGINE_NAMES
from pytest_disagg.telemetry.prometheus import parse
from pytest_disagg.telemetry.reading import Reading

GIVE_UP_AFTER = 5
"""So many answers in a row that are no metrics, before there ever was one."""


@lru_cache(maxsize=8192)
def _safe(series: str) -> str:
    """Redacted once: a page has the same series every second."""
    return redact(series)


class EngineSampler:
    """The metrics page of one server. ``fetch`` gives status and text, or raises OSError. Of too long a page those that
    records hold are kept first: what all engines have, and ``wanted``.

    A server that answers, but never with metrics, is not asked for ever: it may write a line into its log each time.
    """

    def __init__(
        self,
        name: str,
        url: str,
        fetch: Callable[[], tuple[int, str]],
        say: Callable[[str], None],
        wanted: Sequence[str] = (),
    ) -> None:
        self._name = name
        self._url = url
        self._fetch = fetch
        self._say = say
        self._wanted = ENGINE_NAMES.union(wanted)
        self._last: dict[str, float] = {}
        self._wrong = 0
        self._asking = True
        self._cut = False

    def sample(self) -> Iterable[Reading]:
        """What has changed since the last sample; nothing while the server gives no metrics. Raises OSError."""
        if not self._asking:
            return
        try:
            status, text = self._fetch()
        except OSError as error:
            raise OSError(f"GET {self._url}: {type(error).__name__}: {error}") from error
        page = parse(text, always=self._wanted) if status == 200 else None
        if page is None or not page.seen:
            self._wrong += 1
            if not self._last and self._wrong >= GIVE_UP_AFTER:
                self._asking = False
                seen = f"status {status}" if page is None else "no Prometheus text"
                self._say(f"no engine metrics: GET {self._url}: {seen}, {self._wrong} times; it is not asked again")
            return
        self._wrong = 0
        if page.left_out and not self._cut:
            self._cut = True
            kept = len(page.values)
            self._say(f"engine metrics of {self._url}: {kept} series are kept, {page.left_out} are left out")
        values = {_safe(series): value for series, value in page.values.items()}
        changed = changes(self._last, values)
        self._last = values
        yield Reading("engine", self._name, changed)


def changes(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """The entries of ``now`` that are not the same in ``before``."""
    return {name: value for name, value in now.items() if before.get(name) != value}
