"""What one role publishes about itself: ``roles/<ROLE>.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from pytest_disagg.errors import Kind, RunError

State = Literal["starting", "ready", "stopping", "stopped", "failed"]
STATES: tuple[State, ...] = get_args(State)

STAGES = (
    "plan",
    "prepare",
    "launch",
    "ready",
    "probe",
    "warm-up",
    "measure",
    "accuracy",
    "gate",
    "judge",
    "store",
    "stop",
)
HOLD = "hold"
"""The stage of a deployment that is kept up after the measurement; not part of every run."""


def stage_order(stage: str) -> int:
    """Position of a stage in a run; unknown ones come last."""
    return STAGES.index(stage) if stage in STAGES else len(STAGES)


@dataclass(frozen=True)
class Failure:
    """Why a role ended badly. ``because_of`` is None where this failure is a cause, else the role that caused it; then
    ``message`` is the headline of that cause.

    ``dump_stacks`` asks every other role for its stacks before it stops (a stall).
    """

    role: str
    kind: Kind
    stage: str
    message: str
    because_of: str | None = None
    exit_code: int | None = None
    signal: str | None = None
    evidence: tuple[str, ...] = ()
    dump_stacks: bool = False

    @classmethod
    def of(cls, role: str, error: RunError) -> Failure:
        return cls(
            role=role,
            kind=error.kind,
            stage=error.stage,
            message=error.message,
            because_of=error.because_of,
            exit_code=error.exit_code,
            signal=error.signal,
            evidence=error.evidence,
            dump_stacks=error.dump_stacks,
        )

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "evidence": list(self.evidence)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Failure:
        return cls(**{**data, "evidence": tuple(data.get("evidence", ()))})

    def headline(self) -> str:
        """The first line of every report: kind, role, stage and the message, always those of the cause."""
        if self.because_of is not None:
            return self.message
        return f"{self.kind}: {self.role} failed in stage {self.stage}: {self.message}"

    def text(self) -> str:
        """The headline and the evidence below it."""
        return "\n".join([self.headline(), *(f"    {line}" for line in self.evidence)])


@dataclass(frozen=True)
class RoleState:
    """One role as it last described itself. ``beat`` counts; its growth, not any clock, says that the role lives.

    ``progress`` is what a load is doing right now, ``said`` are lines that stay worth reading, oldest first. ``facts``
    are what other roles need to start: addresses of services, what an engine says of a server.
    """

    role: str
    state: State = "starting"
    stage: str = "launch"
    beat: int = 0
    pid: int = 0
    node: str = ""
    address: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""
    version: str = ""
    progress: str = ""
    said: tuple[str, ...] = ()
    failure: Failure | None = None
    timeline: tuple[tuple[str, float, float | None], ...] = ()
    server_exit: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        data = asdict(self)
        data["failure"] = self.failure.to_dict() if self.failure else None
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RoleState:
        failure = data.get("failure")
        known = {key: value for key, value in data.items() if key in cls.__dataclass_fields__}
        known["failure"] = Failure.from_dict(failure) if failure else None
        known["said"] = tuple(data.get("said", ()))
        known["timeline"] = tuple((name, start, end) for name, start, end in data.get("timeline", ()))
        return cls(**known)
