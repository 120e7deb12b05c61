"""An input file as text, with its path for messages."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pytest_disagg.errors import ConfigError, Problem


@dataclass(frozen=True)
class TextFile:
    """``path`` is where ``text`` came from."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path, what: str) -> TextFile:
        """The whole file, unchanged.

        Raises:
            ConfigError: not readable, or not UTF-8; ``what`` is what was expected there.
        """
        try:
            return cls(path, path.read_bytes().decode("utf-8"))
        except UnicodeDecodeError as error:
            raise ConfigError([Problem(path, None, "", f"no UTF-8 ({error.reason})", what)]) from None
        except OSError as error:
            raise ConfigError([Problem(path, None, "", error.strerror or "an error", what)]) from None
