"""GPUs through NVIDIA's own Python library, with a driver of four GPUs put below it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_disagg.telemetry.gpu import GpuSampler, NoGpuSamplesError, present

pynvml = pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed: pip install 'pytest-disagg[telemetry]'")

UUIDS = ["GPU-aa11", "GPU-aa22", "GPU-bb33", "GPU-cc44"]


@dataclass
class Driver:
    """What the fake driver answers; a value that is an exception is raised."""

    util: dict[int, Any] = field(default_factory=dict)
    closed: dict[int, Any] = field(default_factory=dict)
    reasons: int = 0
    old: bool = False


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """Each function that is replaced exists in the library: the names are those of NVML."""
    state = Driver()

    def put(name: str, function: Callable[..., Any]) -> None:
        assert callable(getattr(pynvml, name))
        monkeypatch.setattr(pynvml, name, function)

    def utilisation(handle: int) -> Any:
        answer = state.util.get(handle, 10 * handle)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(gpu=answer, memory=1)

    def handle_of(index: int) -> int:
        if index in state.closed:
            raise state.closed[index]
        return index

    def reasons(handle: int) -> int:
        if state.old:
            raise pynvml.NVMLError_FunctionNotFound
        return state.reasons

    put("nvmlInit", lambda: None)
    put("nvmlDeviceGetCount", lambda: len(UUIDS))
    put("nvmlDeviceGetHandleByIndex", handle_of)
    put("nvmlDeviceGetHandleByUUID", lambda uuid: uuid)
    put("nvmlDeviceGetUUID", lambda handle: UUIDS[handle])
    put("nvmlDeviceGetUtilizationRates", utilisation)
    put("nvmlDeviceGetMemoryInfo", lambda handle: SimpleNamespace(used=3 << 20))
    put("nvmlDeviceGetPowerUsage", lambda handle: 690_500)
    put("nvmlDeviceGetClockInfo", lambda handle, kind: {pynvml.NVML_CLOCK_SM: 1980}[kind])
    put("nvmlDeviceGetTemperature", lambda handle, sensor: {pynvml.NVML_TEMPERATURE_GPU: 61}[sensor])
    put("nvmlDeviceGetCurrentClocksEventReasons", reasons)
    put("nvmlDeviceGetCurrentClocksThrottleReasons", lambda handle: state.reasons)
    return state


def names(environ: dict[str, str]) -> list[str]:
    return [reading.name for reading in GpuSampler(environ, pytest.fail).sample()]


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["0", "1", "2", "3"]),
        ("2,0", ["2", "0"]),
        ("", []),
        ("-1", []),
        ("1,9,2", ["1"]),
        ("GPU-bb33", ["2"]),
        ("GPU-c, GPU-aa2", ["3", "1"]),
        # Two GPUs, or none: not what the server was started with.
        ("GPU-aa", ["0", "1", "2", "3"]),
        ("6,7", ["0", "1", "2", "3"]),
        ("MIG-1234", ["MIG-1234"]),
    ],
)
def test_the_gpus_are_those_that_cuda_shows_the_server(visible: str | None, expected: list[str]) -> None:
    assert names({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}) == expected


def test_gpus_of_other_jobs_are_neither_sampled_nor_counted(driver: Driver) -> None:
    driver.closed = {0: pynvml.NVMLError_NoPermission(), 2: pynvml.NVMLError_NoPermission()}
    assert names({}) == ["1", "3"]
    assert names({"CUDA_VISIBLE_DEVICES": "1"}) == ["3"]


def test_a_gpu_that_is_lost_before_the_first_sample_is_said_and_the_others_are_sampled(driver: Driver) -> None:
    driver.closed = {2: pynvml.NVMLError_GpuIsLost()}
    said: list[str] = []
    assert [reading.name for reading in GpuSampler({}, said.append).sample()] == ["0", "1", "3"]
    assert len(said) == 1
    assert said[0].startswith("GPU 2 is not sampled: ")


def test_the_values_of_a_gpu(driver: Driver) -> None:
    driver.reasons = pynvml.nvmlClocksEventReasonSwPowerCap
    (reading,) = GpuSampler({"CUDA_VISIBLE_DEVICES": "3"}, pytest.fail).sample()
    assert reading.values == {
        "util_percent": 30,
        "memory_used_mib": 3.0,
        "power_w": 690.5,
        "sm_clock_mhz": 1980,
        "temperature_c": 61,
        "throttle_reasons": 4,
        "power_capped": 1,
        "slowed": 0,
    }


@pytest.mark.parametrize("reason", ["HwSlowdown", "SwThermalSlowdown", "HwThermalSlowdown", "HwPowerBrakeSlowdown"])
@pytest.mark.parametrize("old", [False, True])
def test_heat_and_power_brake_slow_a_gpu_down_whatever_the_driver_calls_it(
    driver: Driver, reason: str, old: bool
) -> None:
    driver.reasons = getattr(pynvml, f"nvmlClocksEventReason{reason}") | pynvml.nvmlClocksEventReasonGpuIdle
    driver.old = old
    reading = next(iter(GpuSampler({}, pytest.fail).sample()))
    assert (reading.values["slowed"], reading.values["power_capped"]) == (1, 0)


@pytest.mark.parametrize("error", ["NotSupported", "NoPermission", "FunctionNotFound", "InvalidArgument"])
def test_a_value_that_a_gpu_does_not_have_is_absent(driver: Driver, error: str) -> None:
    driver.util = {0: getattr(pynvml, f"NVMLError_{error}")()}
    reading = next(iter(GpuSampler({}, pytest.fail).sample()))
    assert "util_percent" not in reading.values
    assert reading.values["temperature_c"] == 61


def test_a_gpu_that_is_lost_is_said_once_and_the_others_go_on(driver: Driver) -> None:
    said: list[str] = []
    sampler = GpuSampler({}, said.append)
    driver.util = {1: pynvml.NVMLError_GpuIsLost()}
    for _ in range(3):
        assert [reading.name for reading in sampler.sample()] == ["0", "2", "3"]
    assert len(said) == 1
    assert said[0].startswith("GPU 1 is not sampled any more: ")


def test_a_library_that_is_missing_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(NoGpuSamplesError, match=r"nvidia-ml-py is not installed \(pip install 'pytest-disagg"):
        GpuSampler({}, pytest.fail)


def test_a_library_that_is_too_old_says_how_to_get_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(pynvml, "nvmlDeviceGetCurrentClocksEventReasons")
    with pytest.raises(NoGpuSamplesError, match=r"pynvml.py is too old, expected nvidia-ml-py 12\.535 or later \(pip"):
        GpuSampler({}, pytest.fail)


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize("function", ["nvmlInit", "nvmlDeviceGetCount"])
def test_a_driver_that_is_missing_or_broken_is_named(monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    def fail() -> None:
        raise pynvml.NVMLError_DriverNotLoaded

    monkeypatch.setattr(pynvml, function, fail)
    with pytest.raises(NoGpuSamplesError, match="NVML: "):
        GpuSampler({}, pytest.fail)


@pytest.mark.parametrize(
    ("files", "found"), [(["nvidia0"], True), (["nvidiactl"], True), (["null", "nvidia-caps", "nvram"], False)]
)
def test_a_gpu_is_there_where_its_device_file_is(tmp_path: Path, files: list[str], found: bool) -> None:
    for name in files:
        (tmp_path / name).touch()
    assert present(tmp_path) is found
    assert not present(tmp_path / "none")
