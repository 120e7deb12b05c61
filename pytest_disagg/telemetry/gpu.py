"""GPUs, asked through NVML (``nvidia-ml-py``, extra ``telemetry``). Nothing is imported where there is no GPU."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_disagg.records.gpu import visible
from pytest_disagg.telemetry.reading import Reading

MIB = 1 << 20
INSTALL = "pip install 'pytest-disagg[telemetry]'"
OLDEST = "12.535"
"""Of nvidia-ml-py: the first that has :data:`REASONS`."""
REASONS = "nvmlDeviceGetCurrentClocksEventReasons"
_DEVICE = re.compile(r"nvidia(\d+|ctl)")


class NoGpuSamplesError(Exception):
    """Why the GPUs of this machine cannot be sampled, in words."""


def present(dev: Path = Path("/dev")) -> bool:
    """Whether this machine shows a device file of an NVIDIA GPU."""
    try:
        return any(_DEVICE.fullmatch(path.name) for path in dev.iterdir())
    except OSError:
        return False


class GpuSampler:
    """The GPUs, or MIG devices, that a process with the environment ``environ`` may use.

    A GPU is named by its NVML index, a MIG device by its UUID. A value that it does not have is left out (utilisation
    of a MIG device); one that fails is said once and asked no more.

    Raises:
        NoGpuSamplesError: the library or the driver is missing, or cannot be used.
    """

    def __init__(self, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._nvml = _library()
        self._say = say
        try:
            self._handles = self._visible(environ)
        except self._nvml.NVMLError as error:
            raise NoGpuSamplesError(f"NVML: {error}") from error
        self._reasons = getattr(self._nvml, REASONS)

    def sample(self) -> Iterable[Reading]:
        """One reading for each GPU."""
        readings = []
        for name, handle in list(self._handles.items()):
            try:
                values = self._values(handle)
            except self._nvml.NVMLError as error:
                del self._handles[name]
                self._say(f"GPU {name} is not sampled any more: {error}")
                continue
            if values:
                readings.append(Reading("gpu", name, values))
        return readings

    def _values(self, handle: Any) -> dict[str, float]:
        nvml = self._nvml
        absent = (
            nvml.NVMLError_NotSupported,
            nvml.NVMLError_NoPermission,
            nvml.NVMLError_FunctionNotFound,
            # Of a MIG device, where the driver knows the value of whole GPUs alone.
            nvml.NVMLError_InvalidArgument,
        )
        values: dict[str, float] = {}
        for read in (self._utilisation, self._memory, self._power, self._clock, self._temperature, self._throttling):
            try:
                values.update(read(handle))
            except absent:
                continue
        return values

    def _utilisation(self, handle: Any) -> dict[str, float]:
        return {"util_percent": self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu}

    def _memory(self, handle: Any) -> dict[str, float]:
        return {"memory_used_mib": round(self._nvml.nvmlDeviceGetMemoryInfo(handle).used / MIB, 1)}

    def _power(self, handle: Any) -> dict[str, float]:
        return {"power_w": self._nvml.nvmlDeviceGetPowerUsage(handle) / 1000}

    def _clock(self, handle: Any) -> dict[str, float]:
        return {"sm_clock_mhz": self._nvml.nvmlDeviceGetClockInfo(handle, self._nvml.NVML_CLOCK_SM)}

    def _temperature(self, handle: Any) -> dict[str, float]:
        return {"temperature_c": self._nvml.nvmlDeviceGetTemperature(handle, self._nvml.NVML_TEMPERATURE_GPU)}

    def _throttling(self, handle: Any) -> dict[str, float]:
        """The driver's bits, and what they mean: ``power_capped`` (held at its power limit) and ``slowed`` (too hot,
        or the board's power brake), each 0 or 1."""
        nvml = self._nvml
        try:
            bits = self._reasons(handle)
        except nvml.NVMLError_FunctionNotFound:
            # Before driver 535 these were called throttle reasons; the bits are the same.
            self._reasons = nvml.nvmlDeviceGetCurrentClocksThrottleReasons
            bits = self._reasons(handle)
        slowed = (
            nvml.nvmlClocksEventReasonHwSlowdown
            | nvml.nvmlClocksEventReasonSwThermalSlowdown
            | nvml.nvmlClocksEventReasonHwThermalSlowdown
            | nvml.nvmlClocksEventReasonHwPowerBrakeSlowdown
        )
        return {
            "throttle_reasons": bits,
            "power_capped": int(bool(bits & nvml.nvmlClocksEventReasonSwPowerCap)),
            "slowed": int(bool(bits & slowed)),
        }

    def _visible(self, environ: Mapping[str, str]) -> dict[str, Any]:
        nvml = self._nvml
        words = [word.strip() for word in environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
        if mig := [word for word in words if word.startswith("MIG-")]:
            return {word: nvml.nvmlDeviceGetHandleByUUID(word) for word in mig}
        ours = self._accessible()
        places = visible(environ, [(nvml.nvmlDeviceGetUUID(handle),) for _, handle in ours])
        return dict(ours[place] for place in places)

    def _accessible(self) -> list[tuple[str, Any]]:
        """The driver counts all GPUs of the machine, of which a job may have been given some; CUDA counts those."""
        nvml = self._nvml
        found = []
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                found.append((str(index), nvml.nvmlDeviceGetHandleByIndex(index)))
            except nvml.NVMLError_NoPermission:
                continue
            except nvml.NVMLError as error:
                self._say(f"GPU {index} is not sampled: {error}")
        return found


def _library() -> Any:
    """``pynvml``, initialised."""
    try:
        import pynvml
    except ImportError as error:
        raise NoGpuSamplesError(f"nvidia-ml-py is not installed ({INSTALL})") from error
    if not hasattr(pynvml, REASONS):
        raise NoGpuSamplesError(f"{pynvml.__file__} is too old, expected nvidia-ml-py {OLDEST} or later ({INSTALL})")
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise NoGpuSamplesError(f"NVML: {error}") from error
    return pynvml
