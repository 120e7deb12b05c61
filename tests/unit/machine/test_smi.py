"""What is read from nvidia-smi's XML, and which of its GPUs are a process's own."""

from __future__ import annotations

import subprocess

import pytest

from pytest_disagg.machine.smi import GpuProcess, mine, parse, read
from pytest_disagg.records.nvidia_smi import SmiError, run
from tests.standins import nvidia_smi

OLD = """<?xml version="1.0" ?><!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd"><nvidia_smi_log>
<driver_version>535.161.08</driver_version>
<gpu id="00000000:C1:00.0"><product_name>NVIDIA L4</product_name><uuid>GPU-b</uuid>
<mig_mode><current_mig>N/A</current_mig></mig_mode>
<ecc_errors><volatile><sram_correctable>0</sram_correctable><sram_uncorrectable>2</sram_uncorrectable>
<dram_correctable>0</dram_correctable><dram_uncorrectable>1</dram_uncorrectable></volatile></ecc_errors>
<retired_pages><pending_blacklist>N/A</pending_blacklist><pending_retirement>Yes</pending_retirement></retired_pages>
<power_readings><power_limit>72.00 W</power_limit><default_power_limit>72.00 W</default_power_limit></power_readings>
<clocks_throttle_reasons><clocks_throttle_reason_sw_power_cap>Active</clocks_throttle_reason_sw_power_cap>
</clocks_throttle_reasons>
<processes><process_info><pid>10131</pid><type>C</type><process_name>ffmpeg</process_name>
<used_memory>389 MiB</used_memory></process_info>
<process_info><pid>7</pid><type>G</type><process_name>Xorg</process_name><used_memory>4 MiB</used_memory>
</process_info><process_info><pid>8</pid><type>C</type><process_name>x</process_name><used_memory>N/A</used_memory>
</process_info></processes></gpu>
<gpu id="00000000:01:00.0"><product_name>NVIDIA L4</product_name><uuid>GPU-a</uuid></gpu></nvidia_smi_log>"""


def test_a_new_driver() -> None:
    (gpu,) = parse(nvidia_smi.xml([{**nvidia_smi.GPU, "power_limit": 500, "ecc": 3, "used": 40}]))

    assert (gpu.index, gpu.name, gpu.driver) == (0, "NVIDIA H100 80GB HBM3", "575.57.08")
    assert (gpu.sm_mhz, gpu.max_sm_mhz, gpu.memory_mhz, gpu.max_memory_mhz) == (345, 1980, 2619, 2619)
    assert (gpu.applications_mhz, gpu.default_applications_mhz) == (1980, 1980)
    assert (gpu.power_limit_w, gpu.default_power_limit_w) == (500, 700)
    assert (gpu.used_mib, gpu.ecc_errors, gpu.repairs, gpu.mig, gpu.persistence) == (40, 3, (), None, True)
    assert gpu.reasons == ("gpu_idle",)


def test_an_old_driver_and_the_order_of_addresses() -> None:
    first, second = parse(OLD)

    assert (first.uuid, first.index, second.uuid, second.index) == ("GPU-a", 0, "GPU-b", 1)
    assert (second.ecc_errors, second.repairs) == (3, ("a page retirement waits for a reset",))
    assert (second.power_limit_w, second.reasons, second.mig) == (72, ("sw_power_cap",), None)
    assert second.processes == (GpuProcess(10131, "ffmpeg", 389), GpuProcess(8, "x", None))
    assert (first.ecc_errors, first.power_limit_w, first.sm_mhz, first.used_mib) == (None, None, None, None)


def test_mig_devices() -> None:
    (gpu,) = parse(nvidia_smi.xml([{**nvidia_smi.GPU, "mig": [(60, 40192, "MIG-x"), (16, 9984, "MIG-y")]}]))
    assert gpu.mig == ("60 SM 40192 MiB", "16 SM 9984 MiB")
    assert mine([gpu], {"CUDA_VISIBLE_DEVICES": "MIG-y"}) == (gpu,)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, [0, 1, 2, 3]),
        ("1,3", [1, 3]),
        ("2", [2]),
        ("", []),
        ("NoDevFiles", []),
        ("GPU-00000002", [2]),
        # What a step sees of its own devices is renumbered, the variable may not be.
        ("6,7", [0, 1, 2, 3]),
    ],
)
def test_the_gpus_of_this_process(visible: str | None, expected: list[int]) -> None:
    gpus = parse(nvidia_smi.xml([{**nvidia_smi.GPU, "uuid": f"GPU-0000000{index}-x"} for index in range(4)]))
    environ = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert [gpu.index for gpu in mine(gpus, environ)] == expected


def test_what_is_no_xml() -> None:
    with pytest.raises(SmiError, match="not XML"):
        parse("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.")


def test_no_nvidia_smi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert read(1) is None


def test_a_tool_that_hangs_or_fails_is_said_with_its_words() -> None:
    with pytest.raises(SmiError, match=r"sleep 60 gave no answer in 0.1 s"):
        run(["sleep", "60"], 0.1)
    with pytest.raises(SmiError, match=r"ended with exit code 9: Driver mismatch"):
        run(["sh", "-c", "echo Driver mismatch >&2; exit 9"], 10)
    with pytest.raises(SmiError, match="No such file"):
        run(["/nowhere/nvidia-smi"], 1)


def test_a_tool_that_is_another_user_s_and_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As below sudo: it cannot be killed, and its clocks are given back all the same."""
    killed = subprocess.Popen.kill

    def not_permitted(process: subprocess.Popen[str]) -> None:
        killed(process)
        process.communicate()
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(subprocess.Popen, "kill", not_permitted)
    with pytest.raises(SmiError, match=r"sleep 60 gave no answer in 0.1 s"):
        run(["sleep", "60"], 0.1)


def test_names_of_processes_in_no_known_encoding() -> None:
    assert run(["printf", r"/tmp/\377train"], 60) == "/tmp/\ufffdtrain"
