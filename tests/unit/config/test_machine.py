"""The blocks ``model``, ``machine`` and ``clocks`` of a case file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.config.blocks import MachineRules
from pytest_disagg.config.case import Case
from pytest_disagg.config.resolve import load_cases
from pytest_disagg.config.settings import Settings
from pytest_disagg.errors import ConfigError
from pytest_disagg.topology.deadlines import deadlines

Write = Callable[..., Path]


def case_of(path: Path, **settings: Any) -> Case:
    return load_cases(str(path), settings=Settings(**settings), environ={})[0]


def test_a_model_from_a_repository(write: Write, disagg: str) -> None:
    case = case_of(write("x.yaml", f"{disagg}model: {{repo: 'org/{{model}}', exclude: [original/]}}\n"))
    assert case.model_source is not None
    assert case.model_source.model_dump() == {
        "repo": "org/{model}",
        "revision": "main",
        "command": None,
        "exclude": ("original/",),
        "token_file": None,
        "scope": "cluster",
    }


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("{}", "found none of them, expected either repo or command"),
        ("{repo: a/b, command: [cp, '{folder}']}", "found both of them, expected either repo or command"),
        ("{command: [cp, x]}", "found cp x, expected {folder} in a word of command"),
        ("{repo: a/b/c}", "model.repo"),
        ("{repo: a/b, scope: everywhere}", "model.scope"),
        ("{repo: a/b, revison: x}", "did you mean 'revision'"),
    ],
)
def test_a_model_block_that_cannot_be_used(write: Write, disagg: str, block: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        case_of(write("x.yaml", f"{disagg}model: {block}\n"))
    assert words in str(error.value)


def test_fetching_has_a_stage_of_its_own_only_where_there_is_something_to_fetch(write: Write, disagg: str) -> None:
    without = deadlines(case_of(write("x.yaml", disagg)))
    fetching = deadlines(case_of(write("y.yaml", f"{disagg}model: {{repo: a/b}}\ntimeouts: {{prepare_s: 1000}}\n")))
    counts = {stage.name: stage.count for stage in without.stages}, {s.name: s.count for s in fetching.stages}
    assert [each["prepare"] for each in counts] == [0, 1]
    assert fetching.prepare_s == 1000
    assert fetching.measure_s <= without.measure_s


def test_every_real_engine_s_machine_is_looked_at(write: Write, disagg: str) -> None:
    assert case_of(write("x.yaml", f"{disagg}engine: vllm\n")).machine_rules(simulated=False) == MachineRules()
    given = case_of(write("y.yaml", f"{disagg}engine: vllm\nmachine: {{ecc: note, series: [driver]}}\n")).machine
    assert (given.ecc, given.mig, given.series) == ("note", "fail", ("driver",))


@pytest.mark.parametrize("block", ["{}", ""])
def test_a_simulated_server_s_machine_only_where_the_file_says_so(write: Write, disagg: str, block: str) -> None:
    assert case_of(write("x.yaml", f"{disagg}engine: sim\n")).machine_rules(simulated=True) is None
    given = case_of(write("y.yaml", f"{disagg}engine: sim\nmachine: {block}\n"))
    assert given.machine_rules(simulated=True) == MachineRules()


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("machine: {ecc: ignored}", "machine.ecc"),
        ("machine: {series: [clock]}", "machine.series"),
        ("machine: {max_host_cpu: 25}", "machine.max_host_cpu"),
        ("clocks: {}", "clocks.gpu_mhz"),
        ("clocks: {gpu_mhz: fast}", "clocks.gpu_mhz"),
        ("clocks: {gpu_mhz: 0}", "clocks.gpu_mhz"),
        ("clocks: {gpu_mhz: 1410, command: nvidia-smi}", "clocks.command"),
        ("telemetry: {interval_s: 0.01}", "telemetry.interval_s: found 0.01, expected a number of at least 0.1"),
        (
            "discovery: {backend: file, etcd: 'http://a:1', nats: 'nats://a:2'}",
            "discovery: found backend 'file', expected backend: etcd beside the address of one that runs",
        ),
        ("discovery: {etcd: 'http://a:1'}", "found one of them alone, expected both etcd and nats, or none of them"),
        ("discovery: {etcd: 'a:1', nats: 'nats://a:2'}", "discovery.etcd"),
    ],
)
def test_blocks_that_cannot_be_used(write: Write, disagg: str, block: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        case_of(write("x.yaml", f"{disagg}{block}\n"))
    assert words in str(error.value)


def test_sampling_is_on_unless_the_file_turns_it_off(write: Write, disagg: str) -> None:
    assert case_of(write("x.yaml", disagg)).telemetry is not None
    assert case_of(write("y.yaml", f"{disagg}telemetry: {{enabled: false}}\n")).telemetry is None


def test_clocks(write: Write, disagg: str) -> None:
    clocks = case_of(write("x.yaml", f"{disagg}clocks: {{gpu_mhz: 1410, command: [sudo, -n, nvidia-smi]}}\n")).clocks
    assert clocks is not None
    assert (clocks.gpu_mhz, clocks.memory_mhz, clocks.command) == (1410, None, ("sudo", "-n", "nvidia-smi"))


def test_a_rehearsal_fetches_looks_at_and_locks_nothing_and_says_so(write: Write, disagg: str) -> None:
    path = write("x.yaml", f"{disagg}model: {{repo: a/b}}\nmachine: {{}}\nclocks: {{gpu_mhz: 1410}}\n")
    case = case_of(path, engine="sim")
    assert (case.model_source, case.machine_rules(simulated=True), case.clocks) == (None, None, None)
    assert {
        "rehearsal: the model is not fetched",
        "rehearsal: the machine is not looked at",
        "rehearsal: clocks are not locked",
    } <= set(case.notes)
    assert not {note for note in case.notes if "precheck" in note or "nsys" in note}
