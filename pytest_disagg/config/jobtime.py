"""Slurm's time limits (``job_time``, ``sbatch --time``)."""

from __future__ import annotations

import re

_FORMS = re.compile(
    r"(?:(?P<days>\d+)-(?P<dh>\d+)(?::(?P<dm>\d+)(?::(?P<ds>\d+))?)?"
    r"|(?P<h>\d+):(?P<hm>\d+):(?P<hs>\d+)"
    r"|(?P<m>\d+)(?::(?P<s>\d+))?)"
)
EXPECTED = "a Slurm time: minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS"


def job_seconds(value: str | int) -> float | None:
    """Seconds of a Slurm time limit; None for no limit (``UNLIMITED``, ``INFINITE``, ``0``), as Slurm reads them.

    Raises:
        ValueError: not one of Slurm's forms.
    """
    text = str(value).strip()
    if text.upper() in ("UNLIMITED", "INFINITE"):
        return None
    match = _FORMS.fullmatch(text)
    if match is None:
        raise ValueError(EXPECTED)
    part = {name: int(digits or 0) for name, digits in match.groupdict().items()}
    hours = part["days"] * 24 + part["dh"] + part["h"]
    minutes = part["dm"] + part["hm"] + part["m"]
    return (hours * 3600 + minutes * 60 + part["ds"] + part["hs"] + part["s"]) or None
