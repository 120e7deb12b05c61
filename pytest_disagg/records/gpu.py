"""Which GPU this machine has, from ``nvidia-smi`` if there is one, and which of its GPUs are a process's."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_disagg.records.nvidia_smi import NO_DEVICES, TOOL, SmiError, run

PROBE_TIMEOUT_S = 5.0
NO_GPU = "none"
UNKNOWN_GPU = "unknown"
HIDDEN = ("", "NoDevFiles", "-1", "none", "void")
"""Values of CUDA_VISIBLE_DEVICES (the second is Slurm's) that leave a process without GPUs."""

_QUERY = ("--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits")
_MODEL = re.compile(r"(GB\d{2,3}|GH\d{3}|B\d{3}|H\d{2,3}|A\d{2,3}|L\d{1,2}S?|V100|T4)(?![A-Za-z0-9])")


@dataclass(frozen=True)
class Gpu:
    """One GPU as the driver reports it; memory in MiB."""

    name: str
    driver: str
    memory_mib: int | None


@dataclass(frozen=True)
class GpuProbe:
    """``gpus`` of this machine. ``error`` says why they are not known; both empty: there is no GPU."""

    gpus: tuple[Gpu, ...] = ()
    error: str = ""


def probe(timeout_s: float = PROBE_TIMEOUT_S) -> GpuProbe:
    """Ask the driver, for at most ``timeout_s``. A machine without ``nvidia-smi`` has no GPU; never raises."""
    tool = shutil.which(TOOL)
    if tool is None:
        return GpuProbe()
    try:
        said = run([tool, *_QUERY], timeout_s)
    except SmiError as error:
        return GpuProbe() if NO_DEVICES in str(error) else GpuProbe(error=str(error))
    return GpuProbe(tuple(_parse(line) for line in said.splitlines() if line.strip()))


def _parse(line: str) -> Gpu:
    name, driver, memory = (*(cell.strip() for cell in line.split(",")), "", "", "")[:3]
    return Gpu(name, driver, int(memory) if memory.isdigit() else None)


def visible(environ: Mapping[str, str], uuids: Sequence[Sequence[str]]) -> tuple[int, ...]:
    """Positions of the GPUs that CUDA_VISIBLE_DEVICES leaves to a process; of all of them where it is not set.

    ``uuids`` are those of each GPU and of its MIG devices, in the order of PCI addresses (CUDA's own default differs
    only where models are mixed). As in CUDA a word is a number or the beginning of a UUID, and what follows one that
    names no GPU is hidden. Where the first names none, as when Slurm shows a step its own devices alone and counts
    the node's, what is seen is the process's.
    """
    given = environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return tuple(range(len(uuids)))
    if given.strip() in HIDDEN:
        return ()
    found: dict[int, None] = {}
    for word in filter(None, (word.strip() for word in given.split(","))):
        named = [
            position
            for position, own in enumerate(uuids)
            if word == str(position) or (not word.isdecimal() and any(uuid.startswith(word) for uuid in own))
        ]
        if len(named) != 1:
            break
        found[named[0]] = None
    return tuple(found) or tuple(range(len(uuids)))


def short_name(product: str) -> str:
    """A product name as perf-sanity files spell it: ``NVIDIA H100 80GB HBM3`` -> ``h100``.

    A product that is no known data-centre model keeps its whole name as a slug, so that no two of them look alike.
    """
    for word in product.split():
        found = _MODEL.match(word)
        if found:
            return found[1].lower()
    words = re.findall(r"[a-z0-9]+", product.lower())
    return "-".join(word for word in words if word != "nvidia") or UNKNOWN_GPU


def gpu_type(found: GpuProbe | None = None) -> str:
    """The short name of the first GPU; ``none`` where there is no GPU, ``unknown`` where the driver does not answer."""
    found = probe() if found is None else found
    if found.gpus:
        return short_name(found.gpus[0].name)
    return UNKNOWN_GPU if found.error else NO_GPU
