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
    assert case_of(write("x.yaml", f"{disagg}engine: vllm\n")).machine == MachineRules()
    given = case_of(write("y.yaml", f"{disagg}engine: vllm\nmachine: {{ecc: note, series: [driver]}}\n")).machine
    assert given is not None
    assert (given.ecc, given.mig, given.series) == ("note", "fail", ("driver",))


def test_a_simulated_engine_s_machine_only_where_the_file_says_so(write: Write, disagg: str) -> None:
    assert case_of(write("x.yaml", f"{disagg}engine: sim\n")).machine is None
    assert case_of(write("y.yaml", f"{disagg}engine: sim\nmachine: {{}}\n")).machine == MachineRules()


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
    ],
)
def test_blocks_that_cannot_be_used(write: Write, disagg: str, block: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        case_of(write("x.yaml", f"{disagg}{block}\n"))
    assert words in str(error.value)


def test_clocks(write: Write, disagg: str) -> None:
    clocks = case_of(write("x.yaml", f"{disagg}clocks: {{gpu_mhz: 1410, command: [sudo, -n, nvidia-smi]}}\n")).clocks
    assert clocks is not None
    assert (clocks.gpu_mhz, clocks.memory_mhz, clocks.command) == (1410, None, ("sudo", "-n", "nvidia-smi"))


def test_a_rehearsal_fetches_looks_at_and_locks_nothing(write: Write, disagg: str) -> None:
    path = write("x.yaml", f"{disagg}model: {{repo: a/b}}\nmachine: {{}}\nclocks: {{gpu_mhz: 1410}}\n")
    case = case_of(path, engine="sim")
    assert (case.model_source, case.machine, case.clocks) == (None, None, None)
    assert "rehearsal: clocks are not locked" in case.notes
