"""Records: one concurrency point's metrics and identity as a flat mapping, typed by prefix, in files of JSON lines.

Prefixes are those of the OpenSearch index that TensorRT-LLM's perf-sanity results go to: ``s_`` text, ``l_`` integer,
``d_`` float, ``b_`` boolean, ``ts_`` time in epoch milliseconds. A key without a value is absent, never null.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_disagg.errors import ConfigError, Problem
from pytest_disagg.records.fields import client_fields, runtime, server_fields, with_infix
from pytest_disagg.redact import redact

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case, LoadSpec, ServerSpec

Value = str | int | float | bool
Record = dict[str, Value]

SCHEMA_VERSION = 1
_PREFIXES = ("s_", "l_", "d_", "b_", "ts_")
_LEFT_OUT = "s_left_out"
_FREE_TEXT = ("env_var", "env_vars", "_info", "_reason", "_url", "_link", "_model_dir", "dataset_file", _LEFT_OUT)


@dataclass(frozen=True)
class Identity:
    """Where and of what a record is: the part that no case file knows. Empty text means unknown and is left out.

    ``created_ms`` is epoch milliseconds. ``extra`` are further fields with their prefixes (a job's ``s_build_url``).
    """

    run_id: str
    created_ms: int
    gpu_type: str = "none"
    cluster: str = ""
    node_group: str = ""
    host: str = ""
    git_sha: str = ""
    git_branch: str = ""
    git_dirty: bool | None = None
    stage_name: str = ""
    client_tool: str = ""
    client_tool_version: str = ""
    package_version: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def fields(self) -> dict[str, Any]:
        named = {
            "s_run_id": self.run_id,
            "s_gpu_type": self.gpu_type,
            "s_cluster": self.cluster,
            "s_node_group": self.node_group,
            "s_host_node_name": self.host,
            "s_commit": self.git_sha,
            "s_branch": self.git_branch,
            "b_git_dirty": self.git_dirty,
            "s_stage_name": self.stage_name,
            "s_client_tool": self.client_tool,
            "s_client_tool_version": self.client_tool_version,
            "s_package_version": self.package_version,
        }
        known = {name: value for name, value in named.items() if value not in ("", None)}
        return {**known, "ts_created": self.created_ms, **self.extra}


@dataclass(frozen=True)
class Judgement:
    """What gate and verdict said. ``low_n`` names the percentiles that have too few samples to be judged."""

    valid: bool = True
    invalid_reason: str = ""
    low_n: Sequence[str] = ()
    verdict: str = ""
    info: str = ""

    def fields(self) -> dict[str, Any]:
        return {
            "b_is_valid": self.valid,
            "b_is_baseline": False,
            "b_is_regression": self.verdict == "regression",
            "s_regression_info": self.info,
            **({"s_verdict": self.verdict} if self.verdict else {}),
            **({"s_invalid_reason": self.invalid_reason} if self.invalid_reason else {}),
            **({"s_low_n": list(self.low_n)} if self.low_n else {}),
        }


def build(
    case: Case,
    spec: ServerSpec | None,
    load: LoadSpec,
    *,
    metrics: Mapping[str, float],
    identity: Identity,
    repeat: int = 0,
    judgement: Judgement | None = None,
) -> Record:
    """One record. ``spec`` is the aggregated server that was measured, None for a disaggregated run.

    ``metrics`` are named without prefix. Numbers are cast to their prefix's type; what cannot be cast (or is NaN or
    infinite) is left out and named in ``s_left_out``.
    """
    fields = identity.fields()
    fields.update(_case_fields(case, spec, load, repeat))
    fields.update(client_fields(load, spec_decoding=case.spec_decoding))
    fields.update((judgement or Judgement()).fields())
    fields.update({f"d_{name}": value for name, value in metrics.items()})
    return typed(fields)


def _case_fields(case: Case, spec: ServerSpec | None, load: LoadSpec, repeat: int) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "l_schema_version": SCHEMA_VERSION,
        "s_case_id": case.id.text,
        "s_test_list": case.id.text,
        "s_config_digest": case.digest,
        "s_engine": case.engine,
        "s_precision": case.precision,
        "s_runtime": runtime(case, spec),
        "s_benchmark_mode": case.id.mode,
        "s_modifier": case.id.modifier,
        "l_repeat": repeat,
        "b_rehearsal": case.rehearsal,
    }
    if case.slo is not None:
        fields.update({f"d_slo_{name}": limit for name, limit in case.slo.model_dump(exclude_none=True).items()})
    if spec is not None and spec.kind == "server":
        fields.update(server_fields(spec, case.gpus_per_node))
        fields["s_test_case_name"] = f"{spec.name}-{load.name}"
        return fields
    fields["s_test_case_name"] = f"{case.id.mode}-{case.id.stem}-{load.name}"
    fields["s_server_env_var"] = case.coordinator_env_text
    fields["s_model_name"] = case.model.lower()
    fields["l_num_ctx_servers"] = case.num_ctx
    fields["l_num_gen_servers"] = case.num_gen
    for kind, count in (("ctx", case.num_ctx), ("gen", case.num_gen)):
        server = case.server("ctx" if kind == "ctx" else "gen")
        if server is not None and count > 0:
            fields.update(with_infix(server_fields(server, case.gpus_per_node), kind))
    return fields


def typed(fields: Mapping[str, Any]) -> Record:
    """``fields`` with every value of its prefix's type; None is absent, the uncastable is named in ``s_left_out``."""
    record: Record = {}
    left_out = []
    for name, value in fields.items():
        if value is None:
            continue
        cast = _cast(name, value)
        if cast is None:
            left_out.append(f"{name}: found {value!r}, expected {_expected(name)}")
        else:
            record[name] = cast
    if left_out:
        record[_LEFT_OUT] = "; ".join(left_out)
    return {
        name: redact(value) if isinstance(value, str) and name.endswith(_FREE_TEXT) else value
        for name, value in record.items()
    }


def _expected(name: str) -> str:
    kinds = {"s_": "text", "l_": "an integer", "ts": "an integer", "d_": "a finite number", "b_": "true or false"}
    return kinds.get(name[:2], "a key that starts with s_, l_, d_, b_ or ts_")


def _cast(name: str, value: Any) -> Value | None:
    if name.startswith("b_"):
        return value if isinstance(value, bool) else None
    if name.startswith("s_"):
        if isinstance(value, (list, tuple)):
            return ",".join(map(str, value))
        return str(value) if isinstance(value, (str, int, float, Path)) else None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(number):
        return None
    if name.startswith("d_"):
        return number
    if name.startswith(("l_", "ts_")) and number.is_integer():
        return value if isinstance(value, int) else int(number)
    return None


def document_id(record: Mapping[str, Value]) -> str:
    """The id under which a record is stored anywhere: the same for the same measurement, however often it is sent.

    Hash of run id, case, server, client, concurrency and repeat.
    """
    parts = ("s_run_id", "s_case_id", "s_server_name", "s_client_name", "l_concurrency", "l_repeat")
    return hashlib.sha256(json.dumps([record.get(part) for part in parts]).encode()).hexdigest()


def append(path: Path, records: Iterable[Mapping[str, Value]]) -> None:
    """Append records to a file of JSON lines that has this one writer; each is on disk before the next is written.

    A line that an earlier writer left unfinished is closed first, so that it spoils itself alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def read(path: Path) -> list[Record]:
    """The records of a file of JSON lines, in order; empty lines are skipped.

    Raises:
        ConfigError: the file cannot be read, or lines of it are no records; every such line with its number.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise ConfigError([Problem(path, None, "", error.strerror or str(error), "a file of records")]) from error
    records: list[Record] = []
    problems = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        found = _decoded(line)
        if isinstance(found, str):
            problems.append(Problem(path, number, "", found, "one JSON object per line (a record)"))
        else:
            records.append(found)
    if problems:
        raise ConfigError(problems)
    return records


def _decoded(line: bytes) -> Record | str:
    """The record in a line, or what is wrong with it."""
    try:
        value = json.loads(line)
    except ValueError as error:
        return f"{redact(line[:40].decode(errors='replace'))!r} ({error})"
    if not isinstance(value, dict):
        return f"{type(value).__name__} {str(value)[:40]!r}"
    broken = [name for name, item in value.items() if name.startswith(_PREFIXES) and _cast(name, item) is None]
    if broken:
        return f"{broken[0]}: {value[broken[0]]!r}, which is not {_expected(broken[0])}"
    return {name: float(item) if name.startswith("d_") else item for name, item in value.items()}
