"""Server-sent events out of bytes that may be split anywhere (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

_BOM = b"\xef\xbb\xbf"


class SseParser:
    """Feed it bytes, get the data of each event that is complete.

    The form every OpenAI-compatible server sends, one event ``data: ...\\n\\n`` per chunk, takes a short path.
    ``error`` holds the text of an event named ``error`` (some servers say it in a comment of that event), None until
    one came.
    """

    __slots__ = ("_comment", "_data", "_name", "_skip_lf", "_started", "_tail", "error")

    def __init__(self) -> None:
        self._tail = b""
        self._data: list[bytes] = []
        self._name = b""
        self._comment = b""
        self._skip_lf = False
        self._started = False
        self.error: str | None = None

    @property
    def pending(self) -> bool:
        """Whether an event has begun that no blank line has ended."""
        return bool(self._tail or self._data)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The data of the events that ``chunk`` completes, in order."""
        if (
            not self._tail
            and not self._data
            and chunk.startswith(b"data: ")
            and chunk.endswith(b"\n\n")
            and chunk.count(b"\n") == 2
            and b"\r" not in chunk
            and not self._name
        ):
            self._started = True
            return [chunk[6:-2]]
        return self._feed(chunk)

    def _feed(self, chunk: bytes) -> list[bytes]:
        text = self._tail + chunk
        if not self._started:
            if len(text) < len(_BOM) and _BOM.startswith(text):
                self._tail = text
                return []
            self._started = True
            text = text.removeprefix(_BOM)
        if self._skip_lf and text:
            # The line feed of a CR LF whose halves came apart; the CR has already ended the line.
            text = text.removeprefix(b"\n")
            self._skip_lf = False
        if b"\r" in text:
            self._skip_lf = text.endswith(b"\r")
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = text.split(b"\n")
        self._tail = lines.pop()
        events: list[bytes] = []
        for line in lines:
            if line:
                self._field(line)
            else:
                self._dispatch(events)
        return events

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._name = value
        elif not name:
            self._comment = value

    def _dispatch(self, events: list[bytes]) -> None:
        data = b"\n".join(self._data)
        if self._name == b"error":
            self.error = (data or self._comment).decode("utf-8", "replace")
        elif self._data:
            events.append(data)
        self._data = []
        self._name = self._comment = b""
