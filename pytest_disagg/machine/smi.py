"""The state of a machine's GPUs, from ``nvidia-smi -q -x``.

The XML form, because one call gives everything and a driver that does not know a value leaves it out, where
``--query-gpu`` refuses the whole question. Names that changed with the driver (535 to 575) are looked for one after the
other.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from pytest_disagg.records.gpu import visible
from pytest_disagg.records.nvidia_smi import NO_DEVICES, TOOL, SmiError, run

_REPAIRS = {
    "remapped_rows/remapped_row_pending": "a row remapping waits for a reset",
    "remapped_rows/remapped_row_failure": "a row remapping failed",
    "retired_pages/pending_retirement": "a page retirement waits for a reset",
    "retired_pages/pending_blacklist": "a page retirement waits for a reset",
    "ecc_errors/channel_repair_pending": "a repair of a memory channel waits for a reset",
    "ecc_errors/tpc_repair_pending": "a repair of a processor cluster waits for a reset",
    "ecc_errors/unrepairable_memory": "memory cannot be repaired",
    "ecc_errors/aggregate/sram_threshold_exceeded": "SRAM has had too many errors",
}
_NO_ACTION = ("", "None", "N/A")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_REASON = re.compile(r"clocks_(?:event|throttle)_reason_(?!.*counters)(\w+)")


@dataclass(frozen=True)
class GpuProcess:
    """A process on a GPU. ``memory_mib`` is None where the driver does not say."""

    pid: int
    name: str
    memory_mib: int | None


@dataclass(frozen=True)
class GpuState:
    """One GPU. ``index`` is its position in the order of PCI addresses; None is what the driver does not say.

    ``reasons`` are what holds its clocks down now, as the driver names it (``sw_power_cap``). ``mig`` has a text for
    each MIG device and is None where MIG is off. ``ecc_errors`` are uncorrected ones since the driver was loaded,
    ``repairs`` says what waits for a reset of the GPU.
    """

    index: int
    uuid: str
    name: str
    driver: str
    processes: tuple[GpuProcess, ...] = ()
    used_mib: int | None = None
    sm_mhz: int | None = None
    max_sm_mhz: int | None = None
    memory_mhz: int | None = None
    max_memory_mhz: int | None = None
    applications_mhz: int | None = None
    default_applications_mhz: int | None = None
    reasons: tuple[str, ...] = ()
    power_limit_w: float | None = None
    default_power_limit_w: float | None = None
    mig: tuple[str, ...] | None = None
    mig_uuids: tuple[str, ...] = ()
    ecc_errors: int | None = None
    repairs: tuple[str, ...] = ()
    persistence: bool | None = None


def read(timeout_s: float) -> tuple[GpuState, ...] | None:
    """Every GPU of this machine that nvidia-smi sees; None where there is no nvidia-smi.

    Raises:
        SmiError: see :func:`~pytest_disagg.records.nvidia_smi.run`; or it printed something else.
    """
    tool = shutil.which(TOOL)
    if tool is None:
        return None
    try:
        text = run([tool, "-q", "-x"], timeout_s)
    except SmiError as error:
        if NO_DEVICES in str(error):
            return ()
        raise
    return parse(text)


def parse(text: str) -> tuple[GpuState, ...]:
    """The GPUs in the XML of ``nvidia-smi -q -x``.

    Raises:
        SmiError: it is no such XML.
    """
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise SmiError(f"nvidia-smi -q -x: not XML: {error}") from error
    driver = _text(root, "driver_version")
    # An address is fixed in width, so its text sorts like it.
    gpus = sorted(root.findall("gpu"), key=lambda gpu: gpu.get("id", ""))
    return tuple(_gpu(index, gpu, driver) for index, gpu in enumerate(gpus))


def mine(gpus: Sequence[GpuState], environ: Mapping[str, str]) -> tuple[GpuState, ...]:
    """Those of ``gpus`` that CUDA_VISIBLE_DEVICES leaves to this process (:func:`records.gpu.visible`)."""
    return tuple(gpus[position] for position in visible(environ, [(gpu.uuid, *gpu.mig_uuids) for gpu in gpus]))


def _gpu(index: int, gpu: ElementTree.Element, driver: str) -> GpuState:
    power = gpu.find("gpu_power_readings")
    power = gpu.find("power_readings") if power is None else power
    mig_on = _text(gpu, "mig_mode/current_mig") == "Enabled"
    devices = gpu.findall("mig_devices/mig_device")
    return GpuState(
        index=index,
        uuid=_text(gpu, "uuid"),
        name=_text(gpu, "product_name"),
        driver=driver,
        # A desktop's graphics (G) is no load; C+G is.
        processes=tuple(map(_process, filter(_computes, gpu.findall("processes/process_info")))),
        used_mib=_number(gpu, "fb_memory_usage/used"),
        sm_mhz=_number(gpu, "clocks/sm_clock"),
        max_sm_mhz=_number(gpu, "max_clocks/sm_clock"),
        memory_mhz=_number(gpu, "clocks/mem_clock"),
        max_memory_mhz=_number(gpu, "max_clocks/mem_clock"),
        applications_mhz=_number(gpu, "applications_clocks/graphics_clock"),
        default_applications_mhz=_number(gpu, "default_applications_clocks/graphics_clock"),
        reasons=_reasons(gpu),
        power_limit_w=_float(power, "current_power_limit", "power_limit", "enforced_power_limit"),
        default_power_limit_w=_float(power, "default_power_limit"),
        mig=tuple(map(_mig_device, devices)) if mig_on else None,
        mig_uuids=tuple(filter(None, (_text(each, "uuid") for each in devices))),
        ecc_errors=_uncorrected(gpu),
        repairs=tuple(_repairs(gpu)),
        persistence={"Enabled": True, "Disabled": False}.get(_text(gpu, "persistence_mode")),
    )


def _computes(process: ElementTree.Element) -> bool:
    return _text(process, "type") != "G"


def _process(each: ElementTree.Element) -> GpuProcess:
    return GpuProcess(_number(each, "pid") or 0, _text(each, "process_name"), _number(each, "used_memory"))


def _reasons(gpu: ElementTree.Element) -> tuple[str, ...]:
    active = [each.tag for each in gpu.iter() if (each.text or "").strip() == "Active"]
    return tuple(found[1] for tag in active if (found := _REASON.fullmatch(tag)))


def _mig_device(device: ElementTree.Element) -> str:
    units = _number(device, "device_attributes/shared/multiprocessor_count")
    return f"{units or '?'} SM {_number(device, 'fb_memory_usage/total') or '?'} MiB"


def _uncorrected(gpu: ElementTree.Element) -> int | None:
    """Their sum over all memories of the GPU; older drivers count SRAM as one, newer ones by how it was found."""
    volatile = gpu.find("ecc_errors/volatile")
    if volatile is None:
        return None
    counts = [_count(each) for each in volatile.iter() if "uncorrectable" in each.tag]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _repairs(gpu: ElementTree.Element) -> list[str]:
    found = [words for path, words in _REPAIRS.items() if _text(gpu, path) == "Yes"]
    action = _text(gpu, "gpu_recovery_action")
    return list(dict.fromkeys(found + ([f"its driver asks for: {action}"] if action not in _NO_ACTION else [])))


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _count(element: ElementTree.Element) -> int | None:
    text = (element.text or "").strip()
    return int(text) if text.isdigit() else None


def _number(element: ElementTree.Element, path: str) -> int | None:
    found = _NUMBER.match(_text(element, path))
    return round(float(found[0])) if found else None


def _float(element: ElementTree.Element | None, *paths: str) -> float | None:
    for path in paths if element is not None else ():
        if element is not None and (found := _NUMBER.match(_text(element, path))):
            return float(found[0])
    return None
