"""Whole files on a shared file system: they appear complete or not at all, and are read by names already known."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_disagg.wrapper.redaction import redact


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` atomically: temporary name in the same folder, flush, rename."""
    _temporary(path, text).replace(path)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    write_text(path, _to_json(value))


def create_json(path: Path, value: Mapping[str, Any]) -> bool:
    """Create ``path`` whole; False when it is there already. Exclusive on NFS too (a hard link)."""
    temporary = _temporary(path, _to_json(value))
    try:
        os.link(str(temporary), str(path))
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in ``path``, None while there is none. The folder is opened first: NFS then asks its server again."""
    with contextlib.suppress(OSError):
        os.close(os.open(str(path.parent), os.O_RDONLY))
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: found a JSON {type(value).__name__}, expected an object")
    return value


def _to_json(value: Mapping[str, Any]) -> str:
    clean = {key: redact(item) if isinstance(item, str) else item for key, item in value.items()}
    return json.dumps(clean, indent=1, sort_keys=True) + "\n"


def _temporary(path: Path, text: str) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=str(path.parent))
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
    except BaseException:
        Path(name).unlink()
        raise
    return Path(name)
