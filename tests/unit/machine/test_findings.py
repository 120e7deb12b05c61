"""What the rules make of GPUs, and what of them keeps records apart."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_disagg.config.blocks import MachineRules
from pytest_disagg.machine.findings import Finding, findings, node_group, series_facts, summary
from pytest_disagg.machine.smi import GpuState, parse
from tests.standins import nvidia_smi

OURS = 4711


def gpu(**facts: Any) -> GpuState:
    return parse(nvidia_smi.xml([{**nvidia_smi.GPU, "uuid": "GPU-x", **facts}]))[0]


def found(state: GpuState, **rules: Any) -> list[Finding]:
    return findings([state], MachineRules(**rules), lambda pid: pid == OURS, lambda pid, name: f"{name} of bob")


def test_a_gpu_as_it_comes_has_no_finding() -> None:
    assert found(gpu()) == []


def test_processes_of_others_but_not_of_this_run() -> None:
    assert found(gpu(processes=[(OURS, "python", 9000)], used=9000)) == []
    assert found(gpu(processes=[(OURS, "python", 9000), (8, "train.py", 300)])) == [
        Finding("fail", "GPU 0 (GPU-x): found train.py of bob with 300 MiB, expected no process of others")
    ]


def test_memory_of_processes_that_cannot_be_seen() -> None:
    assert found(gpu(used=2047)) == []
    (finding,) = found(gpu(used=2048))
    assert "found 2048 MiB in use by processes that cannot be seen from here, expected less than 2048" in finding.text
    assert found(gpu(used=2048), foreign_memory_mib=4096) == []


@pytest.mark.parametrize(
    ("facts", "rule", "default", "words"),
    [
        ({"ecc": 2}, "ecc", "fail", "found 2 uncorrected ECC errors"),
        ({"pending": "Yes"}, "ecc", "fail", "a row remapping waits for a reset"),
        ({"mig": [(60, 40192, "MIG-x")]}, "mig", "fail", "found MIG on (60 SM 40192 MiB)"),
        ({"reasons": ["hw_thermal_slowdown"]}, "throttled", "note", "held down by hw_thermal_slowdown before the load"),
        ({"processes": [(8, "a", 1)]}, "foreign_processes", "fail", "a of bob with 1 MiB"),
    ],
)
def test_each_rule_and_what_it_can_be_set_to(facts: dict[str, Any], rule: str, default: str, words: str) -> None:
    (finding,) = found(gpu(**facts))
    assert finding.action == default
    assert words in finding.text
    for action in ("fail", "note"):
        assert [each.action for each in found(gpu(**facts), **{rule: action})] == [action]
    assert found(gpu(**facts), **{rule: "ignore"}) == []


def test_an_idle_or_capped_gpu_is_not_throttled() -> None:
    assert found(gpu(reasons=["gpu_idle", "sw_power_cap"])) == []


def test_facts_of_a_series() -> None:
    assert series_facts([gpu()], None) == {"driver": "575.57.08"}
    assert series_facts([gpu(power_limit=500), gpu()], (1410, None)) == {
        "power_cap": "500 W",
        "clocks": "1410 MHz",
        "driver": "575.57.08",
    }
    assert series_facts([gpu(mig=[(60, 40192, "MIG-x")])], (1410, 2619)) == {
        "clocks": "1410 MHz memory 2619 MHz",
        "mig": "60 SM 40192 MiB",
        "driver": "575.57.08",
    }


def test_the_node_group_has_what_deviates_of_what_was_asked_for() -> None:
    plain, capped = series_facts([gpu()], None), series_facts([gpu(power_limit=500)], (1410, None))
    default = MachineRules().series
    assert node_group([plain, plain], default) == ""
    assert node_group([capped, capped], default) == "power 500 W, clocks 1410 MHz"
    assert node_group([capped, plain], ["power_cap"]) == "power 500 W/default"
    assert node_group([plain], ["driver"]) == "driver 575.57.08"
    assert node_group([], default) == ""


def test_a_summary_has_each_value_once() -> None:
    facts = summary([gpu(power_limit=500), gpu(uuid="GPU-y"), gpu(uuid="GPU-z")])
    assert facts["gpus"] == ["GPU-x", "GPU-y", "GPU-z"]
    assert (facts["power_limit_w"], facts["driver"], facts["clock_reasons"]) == (
        [500.0, 700.0],
        ["575.57.08"],
        ["gpu_idle"],
    )
