"""Where history lies."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "DISAGG_HISTORY"


def default_path() -> Path:
    """``$XDG_DATA_HOME/pytest-disagg``, by default below ``~/.local/share``: run directories get purged, this stays."""
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "pytest-disagg"


def history_path(given: Path | None, environ: Mapping[str, str]) -> Path:
    """What was given on a command line, else ``DISAGG_HISTORY``, else the default; absolute."""
    return Path.cwd() / (given or Path(environ.get(VARIABLE) or default_path()))
