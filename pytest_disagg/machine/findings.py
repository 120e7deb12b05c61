"""What is wrong with the GPUs of a server, and what of them keeps records apart. Pure: states in, words out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_disagg.config.blocks import Action, MachineRules, SeriesFact
from pytest_disagg.machine.smi import GpuProcess, GpuState

HELD_DOWN = ("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown")
"""Reasons for low clocks that no setting explains: heat, or the board's supply. Of an idle GPU others are normal."""
POWER_STEP_W = 1.0


@dataclass(frozen=True)
class Finding:
    """``action`` is what the case's rules say about it: ``fail`` or ``note``."""

    action: Action
    text: str


def findings(
    gpus: Sequence[GpuState], rules: MachineRules, ours: Callable[[int], bool], named: Callable[[int, str], str]
) -> list[Finding]:
    """All that the rules do not ignore. ``ours``: is a process id of this run; ``named``: that process in words."""
    found = []
    for gpu in gpus:
        # Which of them is ours is asked once: it looks at processes.
        foreign = [process for process in gpu.processes if not ours(process.pid)]
        checks: tuple[tuple[Action, Iterable[str]], ...] = (
            (rules.foreign_processes, _foreign(gpu, foreign, rules, named)),
            (rules.ecc, _ecc(gpu)),
            (rules.mig, _mig(gpu)),
            (rules.throttled, _throttled(gpu)),
        )
        found += [
            Finding(action, f"GPU {gpu.index} ({gpu.uuid}): {text}")
            for action, texts in checks
            if action != "ignore"
            for text in texts
        ]
    return found


def _foreign(
    gpu: GpuState, foreign: Sequence[GpuProcess], rules: MachineRules, named: Callable[[int, str], str]
) -> Iterator[str]:
    if foreign:
        shown = [f"{named(each.pid, each.name)}{_memory(each)}" for each in foreign]
        yield f"found {', '.join(shown)}, expected no process of others"
    elif not gpu.processes and (gpu.used_mib or 0) >= rules.foreign_memory_mib:
        yield (
            f"found {gpu.used_mib} MiB in use by processes that cannot be seen from here, expected less than "
            f"{rules.foreign_memory_mib} MiB (machine.foreign_memory_mib)"
        )


def _memory(process: GpuProcess) -> str:
    return "" if process.memory_mib is None else f" with {process.memory_mib} MiB"


def _ecc(gpu: GpuState) -> Iterator[str]:
    if gpu.ecc_errors:
        yield f"found {gpu.ecc_errors} uncorrected ECC errors since its driver was loaded, expected 0"
    for repair in gpu.repairs:
        yield f"found that {repair}, expected a GPU that needs no repair"


def _mig(gpu: GpuState) -> Iterator[str]:
    if gpu.mig is not None:
        yield f"found MIG on ({', '.join(gpu.mig) or 'no devices'}), expected whole GPUs"


def _throttled(gpu: GpuState) -> Iterator[str]:
    if reasons := [reason for reason in gpu.reasons if reason in HELD_DOWN]:
        yield (
            f"found its clocks held down by {', '.join(reasons)} before the load ({gpu.sm_mhz} of {gpu.max_sm_mhz} "
            "MHz), expected none of them"
        )


def summary(gpus: Sequence[GpuState]) -> dict[str, object]:
    """What a server's GPUs are like, for the manifest: each fact with its distinct values."""
    facts: Mapping[str, Iterable[object]] = {
        "name": (gpu.name for gpu in gpus),
        "driver": (gpu.driver for gpu in gpus),
        "power_limit_w": (gpu.power_limit_w for gpu in gpus),
        "default_power_limit_w": (gpu.default_power_limit_w for gpu in gpus),
        "sm_mhz": (gpu.sm_mhz for gpu in gpus),
        "max_sm_mhz": (gpu.max_sm_mhz for gpu in gpus),
        "memory_mhz": (gpu.memory_mhz for gpu in gpus),
        "max_memory_mhz": (gpu.max_memory_mhz for gpu in gpus),
        "applications_mhz": (gpu.applications_mhz for gpu in gpus),
        "clock_reasons": (reason for gpu in gpus for reason in gpu.reasons),
        "mig": (device for gpu in gpus for device in gpu.mig or ()),
        "persistence": (gpu.persistence for gpu in gpus),
    }
    distinct = {
        name: list(dict.fromkeys(value for value in values if value is not None)) for name, values in facts.items()
    }
    return {"gpus": [gpu.uuid for gpu in gpus], **distinct}


def series_facts(gpus: Sequence[GpuState], locked: tuple[int, int | None] | None) -> dict[SeriesFact, str]:
    """What of these GPUs no other run may be compared across, in words; nothing of GPUs as they come.

    ``locked`` are the clocks in MHz (GPU, memory) that the case locks. The driver is always there: which of these
    count is for the case to say.
    """
    facts: dict[SeriesFact, Iterable[str]] = {
        "power_cap": (f"{gpu.power_limit_w:g} W" for gpu in gpus if gpu.power_limit_w is not None and _capped(gpu)),
        "clocks": _clocks(gpus, locked),
        "mig": (device for gpu in gpus for device in gpu.mig or ()),
        "driver": (gpu.driver for gpu in gpus if gpu.driver),
    }
    words = {name: "/".join(sorted(set(values))) for name, values in facts.items()}
    return {name: text for name, text in words.items() if text}


def _capped(gpu: GpuState) -> bool:
    limit, default = gpu.power_limit_w, gpu.default_power_limit_w
    return limit is not None and default is not None and abs(limit - default) >= POWER_STEP_W


def _clocks(gpus: Sequence[GpuState], locked: tuple[int, int | None] | None) -> Iterable[str]:
    if locked is not None:
        gpu_mhz, memory_mhz = locked
        return [f"{gpu_mhz} MHz" + (f" memory {memory_mhz} MHz" if memory_mhz else "")]
    return [
        f"{gpu.applications_mhz} MHz"
        for gpu in gpus
        if gpu.applications_mhz
        and gpu.default_applications_mhz
        and gpu.applications_mhz != gpu.default_applications_mhz
    ]


def node_group(each: Iterable[Mapping[SeriesFact, str]], names: Iterable[SeriesFact]) -> str:
    """The facts of all servers that keep their records apart, as one text (``s_node_group``); empty where none does.

    ``power 500 W, clocks 1410 MHz``
    """
    titles: dict[SeriesFact, str] = {"power_cap": "power", "clocks": "clocks", "mig": "MIG", "driver": "driver"}
    servers, parts = list(each), []
    for name in titles:
        if name in names:
            values = sorted({facts.get(name, "default") for facts in servers})
            if values and values != ["default"]:
                parts.append(f"{titles[name]} {'/'.join(values)}")
    return ", ".join(parts)
