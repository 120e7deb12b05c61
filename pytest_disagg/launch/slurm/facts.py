"""``job.facts``: what the job script knows when it ends, one ``name value...`` a line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

NAME = "job.facts"


@dataclass(frozen=True)
class JobFacts:
    """``gpus`` are all that the job holds. ``steps`` is step -> srun's exit code. Times are epoch seconds.
    ``stage``: launch, image, install, check, precheck, run or ended.

    ``signaled`` is when the script got SIGTERM; ``interrupted``: nothing had ended or failed by then. ``expired`` is
    the limit (seconds) that the steps before the roles, in their stage, did not keep; ``precheck_s`` how long that
    stage took. ``late`` are the steps that had to be stopped.
    """

    job_id: str = ""
    restart: int = 0
    nodes: str = ""
    gpus: int | None = None
    started: float | None = None
    ends: float | None = None
    ended: float | None = None
    signal_s: float = 0.0
    stage: str = ""
    signaled: float | None = None
    error: str = ""
    interrupted: bool = False
    expired: float | None = None
    precheck_s: float | None = None
    late: tuple[str, ...] = ()
    steps: Mapping[str, int] = field(default_factory=dict)


def read_facts(run_dir: Path) -> JobFacts | None:
    """What the job script wrote; None where it did not get that far.

    Raises:
        ValueError: a line that the script never writes.
    """
    path = run_dir / NAME
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    values: dict[str, str] = {}
    steps: dict[str, int] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "step":
            step, _, code = value.rpartition(" ")
            steps[step] = int(code)
        elif name in JobFacts.__dataclass_fields__:
            values[name] = value
        else:
            raise ValueError(f"{path}: found {line!r}, expected one of {', '.join(JobFacts.__dataclass_fields__)}")
    return JobFacts(
        job_id=values.get("job_id", ""),
        restart=int(values.get("restart", 0)),
        nodes=values.get("nodes", ""),
        gpus=int(values["gpus"]) if values.get("gpus") else None,
        started=_number(values.get("started")),
        ends=_number(values.get("ends")),
        ended=_number(values.get("ended")),
        signal_s=_number(values.get("signal_s")) or 0.0,
        stage=values.get("stage", ""),
        signaled=_number(values.get("signaled", "").rpartition(" ")[2] or None),
        interrupted=values.get("interrupted") == "yes",
        expired=_number(values.get("expired")),
        precheck_s=_number(values.get("precheck_s")),
        late=tuple(values.get("late", "").split()),
        error=values.get("error", ""),
        steps=steps,
    )


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)
