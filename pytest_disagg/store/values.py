"""Values that a store takes from the environment: credentials from a variable or a file, never from a command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pytest_disagg.errors import UsageError
from pytest_disagg.redact import register


@dataclass(frozen=True)
class Values:
    """Variables that share a prefix (``OPENSEARCH_``)."""

    environ: Mapping[str, str]
    prefix: str

    def text(self, name: str, default: str = "") -> str:
        return self.environ.get(self.prefix + name) or default

    def url(self, name: str) -> str:
        """An http(s) URL without trailing slash.

        Raises:
            UsageError: it is none, or has credentials in it.
        """
        variable, value = self.prefix + name, self.text(name).rstrip("/")
        try:
            parts = urlsplit(value)
            bad = parts.scheme not in ("http", "https") or not parts.hostname or bool(parts.query or parts.fragment)
            credentials = parts.username is not None or parts.password is not None
            parts.port  # noqa: B018 - raises where it is no number
        except ValueError:
            bad, credentials = True, "@" in value
        if credentials:
            raise UsageError(f"{variable}: has credentials in it; give them in variables or files of their own")
        if bad:
            raise UsageError(f"{variable}: found {value!r}, expected http://HOST[:PORT] or https://HOST[:PORT]")
        return value

    def secret(self, name: str) -> str:
        """The value of a variable, or the content of the file that its twin ``..._FILE`` names; masked from now on.

        Raises:
            UsageError: the file cannot be read.
        """
        value = self.text(name)
        if not value and (path := self.file(f"{name}_FILE")) is not None:
            try:
                value = path.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"{self.prefix}{name}_FILE: {path}: cannot be read: {error}") from error
        if value:
            register(value)
        return value

    def file(self, name: str) -> Path | None:
        """A file that is there, None where the variable is unset.

        Raises:
            UsageError: it is not there.
        """
        value = self.text(name)
        if not value:
            return None
        path = Path(value).expanduser()
        if not path.is_file():
            raise UsageError(f"{self.prefix}{name}: found {value}, expected a file")
        return path

    def seconds(self, name: str, default: float) -> float:
        """A positive number of seconds.

        Raises:
            UsageError: it is none.
        """
        value = self.text(name)
        try:
            found = float(value) if value else default
        except ValueError:
            found = -1.0
        if not 0 < found < float("inf"):
            raise UsageError(f"{self.prefix}{name}: found {value!r}, expected seconds above 0")
        return found

    def yes(self, name: str, default: bool) -> bool:
        """A switch.

        Raises:
            UsageError: neither true nor false.
        """
        value = self.text(name).lower()
        words = {"": default, "1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
        if value not in words:
            raise UsageError(f"{self.prefix}{name}: found {value!r}, expected true or false")
        return words[value]
