"""What identifies a run: the few lines of manifest, records and job that a person looks for first."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_disagg.records.record import Record
from pytest_disagg.redact import redact
from pytest_disagg.rundir.layout import RunDir

_JOB_FACTS = "job.facts"


def facts_of(
    rundir: RunDir, ended: Mapping[str, Any], manifest: Mapping[str, Any], found: Sequence[Record]
) -> dict[str, str]:
    """Title -> text, in the order in which they are shown; what is not known is not there."""
    first: Mapping[str, Any] = found[0] if found else {}
    config, git = _part(manifest, "config"), _part(manifest, "git", "config")
    slurm, container = _part(manifest, "slurm"), _part(manifest, "container")
    cpu, memory, gpu = _part(manifest, "cpu"), _part(manifest, "memory"), _part(manifest, "gpu")
    job = job_facts(rundir)
    dirty = " (with changes)" if git.get("dirty") is True else ""
    sizes = " / ".join(str(first[name]) for name in ("l_isl", "l_osl") if name in first)
    wanted = {
        "Model": first.get("s_model_name") or first.get("s_gen_model_name") or first.get("s_ctx_model_name"),
        "Engine": config.get("engine") or first.get("s_engine"),
        "Mode": first.get("s_benchmark_mode"),
        "ISL / OSL": sizes,
        "Precision": first.get("s_precision"),
        "Load generator": _joined(first.get("s_client_tool"), first.get("s_client_tool_version")),
        "GPU": _joined(first.get("s_gpu_type") or gpu.get("type"), _gpus(first)),
        "CPU": _joined(cpu.get("model"), f"{cpu['usable']} usable" if cpu.get("usable") else ""),
        "Memory": f"{memory['total_bytes'] / 2**30:.0f} GiB" if _number(memory.get("total_bytes")) else "",
        "Host": manifest.get("host") or first.get("s_host_node_name"),
        "Nodes": ended.get("nodes") or job.get("nodes") or slurm.get("SLURM_JOB_NODELIST"),
        "Slurm job": _joined(ended.get("job_id") or slurm.get("SLURM_JOB_ID"), slurm.get("SLURM_JOB_PARTITION")),
        "Job time": _duration(job),
        "Container image": container.get("image"),
        "Commit": _joined(git.get("sha") or first.get("s_commit"), git.get("branch")) + dirty,
        "Stage": first.get("s_stage_name"),
        "Config": config.get("path"),
        "Config digest": str(config.get("digest") or first.get("s_config_digest") or "")[:16],
        "pytest-disagg": manifest.get("version"),
        "Python": _part(manifest, "python").get("version"),
        "Run directory": str(rundir.path),
    }
    return {title: redact(str(value)) for title, value in wanted.items() if value}


def job_facts(rundir: RunDir) -> dict[str, str]:
    """``name value`` lines that a Slurm job's script wrote; empty for a run outside of Slurm."""
    try:
        text = (rundir.path / _JOB_FACTS).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    pairs = (line.partition(" ") for line in text.splitlines())
    return {name: value for name, _, value in pairs if name != "step"}


def _duration(job: Mapping[str, str]) -> str:
    try:
        started, ended = float(job["started"]), float(job["ended"])
    except (KeyError, ValueError):
        return ""
    return f"{ended - started:.0f} s from {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(started))}"


def _gpus(record: Mapping[str, Any]) -> str:
    counts = []
    for kind, servers in (("ctx", record.get("l_num_ctx_servers")), ("gen", record.get("l_num_gen_servers"))):
        each = record.get(f"l_{kind}_gpus")
        if _number(servers) and _number(each):
            counts.append(f"{kind.upper()} {servers} x {each}")
    return ", ".join(counts) or (f"x {record['l_gpus']}" if _number(record.get("l_gpus")) else "")


def _part(data: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    value: Any = data
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _joined(*parts: object) -> str:
    return ", ".join(str(part) for part in parts if part)
