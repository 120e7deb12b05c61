"""Stand-in for NVIDIA's ``nvidia-smi``: reports made-up GPUs, and notes what it was asked to set.

    nvidia-smi -q -x
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader,nounits
    nvidia-smi -i GPU[,GPU...] -lgc MHZ,MHZ | -lmc MHZ,MHZ | -rgc | -rmc

GPU is a UUID or an index. Anything else ends it with exit code 2. ``gpus.json`` beside it has the GPUs (see
:func:`install`); what was set is a line of ``asked``, with the UUID, and shows in the clocks that it reports from then
on.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NAME = "stand-in nvidia-smi"
GPU: dict[str, Any] = {
    "uuid": "GPU-00000000-0000-0000-0000-000000000000",
    "power_limit": 700,
    "default_power_limit": 700,
    "sm": 345,
    "memory": 2619,
    "used": 4,
    "ecc": 0,
    "mig": [],
    "reasons": ["gpu_idle"],
    "processes": [],
    "pending": "No",
}
QUERY = ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits"]
PRODUCT, DRIVER = "NVIDIA H100 80GB HBM3", "575.57.08"
MAX = {"sm": 1980, "memory": 2619}
_OPTIONS = {"-lgc": "sm", "-rgc": "sm", "-lmc": "memory", "-rmc": "memory"}


def install(folder: Path, gpus: Sequence[Mapping[str, Any]] = ({},), *, permitted: bool = True) -> Path:
    """Put it into ``folder`` as ``nvidia-smi``, with GPUs that differ from :data:`GPU` as given; where it notes."""
    folder.mkdir(parents=True, exist_ok=True)
    described = [{**GPU, "uuid": f"GPU-{index:08x}-stand-in", **gpu} for index, gpu in enumerate(gpus)]
    (folder / "gpus.json").write_text(json.dumps({"gpus": described, "permitted": permitted}), encoding="utf-8")
    program = folder / "nvidia-smi"
    python, code = shlex.quote(sys.executable), shlex.quote(str(Path(__file__).resolve()))
    program.write_text(f'#!/bin/sh\nexec {python} -S {code} {shlex.quote(str(folder))} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return folder / "asked"


def main(folder: Path, words: Sequence[str]) -> int:
    known = json.loads((folder / "gpus.json").read_text(encoding="utf-8"))
    if list(words) == ["-q", "-x"]:
        print(xml(known["gpus"], _set(folder)))
        return 0
    if list(words) == QUERY:
        print("\n".join(f"{PRODUCT}, {DRIVER}, 81559" for _ in known["gpus"]))
        return 0
    if len(words) < 3 or words[0] != "-i" or words[2] not in _OPTIONS or (len(words) == 4) != words[2].startswith("-l"):
        print(f"{NAME}: does not take: {' '.join(words)}", file=sys.stderr)
        return 2
    names = {name: gpu["uuid"] for index, gpu in enumerate(known["gpus"]) for name in (str(index), gpu["uuid"])}
    if unknown := [word for word in words[1].split(",") if word not in names]:
        print(f"{NAME}: no devices were found with {', '.join(unknown)}", file=sys.stderr)
        return 6
    if not known["permitted"]:
        # As the real one says it, with this exit code.
        print("The current user does not have permission to change clocks for GPU 00000000:01:00.0.")
        print("Terminating early due to previous errors.")
        return 4
    with (folder / "asked").open("a", encoding="utf-8") as file:
        file.writelines(f"{names[word]} {' '.join(words[2:])}\n" for word in words[1].split(","))
    print(f"{NAME}: {' '.join(words)}")
    return 0


def _set(folder: Path) -> dict[tuple[str, str], int]:
    """The clocks that are locked: (UUID, which) -> MHz."""
    locked: dict[tuple[str, str], int] = {}
    path = folder / "asked"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        uuid, option, *value = line.split()
        if value:
            locked[uuid, _OPTIONS[option]] = int(value[0].split(",")[0])
        else:
            locked.pop((uuid, _OPTIONS[option]), None)
    return locked


def xml(gpus: Sequence[Mapping[str, Any]], locked: Mapping[tuple[str, str], int] | None = None) -> str:
    """What the real one prints for such GPUs, as far as anybody reads it; with the element names of driver 575."""
    parts = [_gpu(index, gpu, locked or {}) for index, gpu in enumerate(gpus)]
    head = f"<!-- {NAME} --><driver_version>{DRIVER}</driver_version><attached_gpus>{len(gpus)}</attached_gpus>"
    return f'<?xml version="1.0" ?>\n<nvidia_smi_log>{head}{"".join(parts)}</nvidia_smi_log>'


def _gpu(index: int, gpu: Mapping[str, Any], locked: Mapping[tuple[str, str], int]) -> str:
    sm, memory = (locked.get((gpu["uuid"], name), gpu[name]) for name in ("sm", "memory"))
    reason = "clocks_event_reason_"
    reasons = "".join(
        f"<{reason}{name}>{'Active' if name in gpu['reasons'] else 'Not Active'}</{reason}{name}>"
        for name in ("gpu_idle", "sw_power_cap", "hw_slowdown", "hw_thermal_slowdown", "sw_thermal_slowdown")
    )
    processes = "".join(
        f"<process_info><pid>{pid}</pid><type>C</type><process_name>{name}</process_name>"
        f"<used_memory>{used} MiB</used_memory></process_info>"
        for pid, name, used in gpu["processes"]
    )
    devices = "".join(
        f"<mig_device><index>{i}</index><device_attributes><shared><multiprocessor_count>{units}"
        f"</multiprocessor_count></shared></device_attributes><fb_memory_usage><total>{total} MiB</total>"
        f"</fb_memory_usage><uuid>{uuid}</uuid></mig_device>"
        for i, (units, total, uuid) in enumerate(gpu["mig"])
    )
    return f"""<gpu id="00000000:{index + 1:02X}:00.0">
<product_name>{PRODUCT}</product_name><persistence_mode>Enabled</persistence_mode>
<mig_mode><current_mig>{"Enabled" if gpu["mig"] else "Disabled"}</current_mig></mig_mode>
<mig_devices>{devices or "None"}</mig_devices><uuid>{gpu["uuid"]}</uuid>
<gpu_recovery_action>None</gpu_recovery_action>
<clocks_event_reasons>{reasons}</clocks_event_reasons>
<clocks_event_reasons_counters>
<clocks_event_reasons_counters_sw_power_cap>5 us</clocks_event_reasons_counters_sw_power_cap>
</clocks_event_reasons_counters>
<fb_memory_usage><total>81559 MiB</total><used>{gpu["used"]} MiB</used></fb_memory_usage>
<ecc_mode><current_ecc>Enabled</current_ecc></ecc_mode>
<ecc_errors><volatile><sram_correctable>0</sram_correctable>
<sram_uncorrectable_parity>0</sram_uncorrectable_parity><sram_uncorrectable_secded>0</sram_uncorrectable_secded>
<dram_correctable>7</dram_correctable><dram_uncorrectable>{gpu["ecc"]}</dram_uncorrectable></volatile>
<aggregate><dram_uncorrectable>9</dram_uncorrectable><sram_threshold_exceeded>No</sram_threshold_exceeded></aggregate>
</ecc_errors>
<remapped_rows><remapped_row_pending>{gpu["pending"]}</remapped_row_pending>
<remapped_row_failure>No</remapped_row_failure></remapped_rows>
<gpu_power_readings><power_state>P0</power_state><current_power_limit>{gpu["power_limit"]}.00 W</current_power_limit>
<default_power_limit>{gpu["default_power_limit"]}.00 W</default_power_limit></gpu_power_readings>
<clocks><graphics_clock>{sm} MHz</graphics_clock><sm_clock>{sm} MHz</sm_clock>
<mem_clock>{memory} MHz</mem_clock></clocks>
<applications_clocks><graphics_clock>1980 MHz</graphics_clock></applications_clocks>
<default_applications_clocks><graphics_clock>1980 MHz</graphics_clock></default_applications_clocks>
<max_clocks><sm_clock>{MAX["sm"]} MHz</sm_clock><mem_clock>{MAX["memory"]} MHz</mem_clock></max_clocks>
<processes>{processes}</processes></gpu>"""


def path_with(folder: Path) -> str:
    """A PATH that begins with it."""
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
