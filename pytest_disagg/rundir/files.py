"""Whole files on a shared file system: they appear complete or not at all, and are read by names already known."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from pytest_disagg.redact import redact, redact_data


def write_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace ``path`` by ``text`` atomically: temporary name in the same directory, flush, ``os.replace``."""
    temporary = _write_temporary(path, text, mode)
    temporary.replace(path)


def create_text(path: Path, text: str, *, mode: int = 0o644) -> bool:
    """Create ``path`` with ``text``, whole; False when it is there already. Exclusive on NFS too (a hard link)."""
    temporary = _write_temporary(path, text, mode)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def to_json(value: Any) -> str:
    """JSON as it is written into a run directory: sorted, redacted."""
    # Redacted before it is JSON: quotes within a masked text would else end the string that holds it.
    return json.dumps(redact_data(value), indent=1, sort_keys=True) + "\n"


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in ``path``; None while the file is not there.

    The directory is opened and closed first: an NFS client then asks the server again for a name it remembers as
    missing. A file is always whole, so broken JSON is an error of whoever wrote it and raises ``ValueError``.
    """
    with contextlib.suppress(OSError):
        os.close(os.open(path.parent, os.O_RDONLY))
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: found a JSON {type(value).__name__}, expected an object")
    return value


def tail_lines(path: Path, count: int = 20, *, max_bytes: int = 1 << 16) -> list[str]:
    """The last ``count`` lines of a log, redacted; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - max_bytes))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    return redact(text).splitlines()[-count:]


def _write_temporary(path: Path, text: str, mode: int) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
    except BaseException:
        Path(name).unlink()
        raise
    return Path(name)
