"""The pages against the code: keys, defaults, options, commands, examples and links."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from pytest_disagg import hookspecs
from pytest_disagg.cli.main import COMMANDS, EXIT_BY_KIND, EXIT_CANCELLED, EXIT_INTERNAL, EXIT_OK, EXIT_USAGE, main
from pytest_disagg.clients.protocol import LoadClient
from pytest_disagg.config.blocks import (
    CaseName,
    Clocks,
    Gate,
    MachineRules,
    MetricRules,
    ModelSource,
    Precheck,
    Slo,
    Telemetry,
    Timeouts,
    VerdictBlock,
)
from pytest_disagg.config.resolve import load_cases, offered_cases
from pytest_disagg.config.settings import RehearseLimits, Settings
from pytest_disagg.config.sim import FaultKind, SimFault, SimSettings
from pytest_disagg.engines.protocol import Engine
from pytest_disagg.errors import KINDS
from pytest_disagg.plugin.options import OPTIONS
from pytest_disagg.records.metrics import gating
from pytest_disagg.records.sample import RequestSample
from pytest_disagg.records.summary import summarize
from pytest_disagg.telemetry.names import ENGINE, JOINED
from pytest_disagg.topology.deadlines import deadlines
from pytest_disagg.verdict.baseline import ALIASES
from pytest_disagg.verdict.types import RED, WORDS

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
CONFIGURATION = ROOT / "docs/configuration.md"
RESULTS = ROOT / "docs/results.md"
ENGINES = ROOT / "docs/engines.md"
TELEMETRY = ROOT / "docs/telemetry.md"
MACHINE = ROOT / "docs/machine.md"
CLIENTS = ROOT / "docs/clients.md"
MORE = ("clients", "history", "jenkins/README", "reports", "slurm", "submit", "test-lists", "verdicts")
CASE_PAGES = (README, CONFIGURATION, RESULTS, ENGINES, TELEMETRY, MACHINE)
"""Their YAML blocks are whole case files."""
PAGES = (*CASE_PAGES, *(ROOT / f"docs/{name}.md" for name in MORE))

_BLOCK = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *languages: str) -> list[str]:
    """The code blocks of those languages, in order."""
    return [text for language, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if language in languages]


def section(page: Path, heading: str) -> str:
    """A heading's text, down to the next heading of its level or above."""
    text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
    found = re.search(rf"^(#+) {re.escape(heading)}$", text, re.MULTILINE)
    assert found is not None, f"{page.name} has no heading {heading!r}"
    end = re.search(rf"^#{{1,{len(found[1])}}} ", text[found.end() :], re.MULTILINE)
    return text[found.end() : found.end() + end.start() if end else None]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every table row."""
    for line in text.splitlines():
        if line.startswith("| "):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def first_cells(text: str) -> dict[str, str]:
    """Every word in code marks in the first cell of a row, with the row's second cell."""
    return {word: cells[1] for cells in rows(text) for word in re.findall(r"`([^`]+)`", cells[0])}


def says(cell: str, default: object) -> bool:
    """Whether a cell names a default; of None and of nothing it has to say in words what it means."""
    if default is None or default in ((), {}):
        return bool(cell) and not re.fullmatch(r"[\d.]+", cell)
    if isinstance(default, bool):
        return cell == str(default).lower()
    if isinstance(default, (str, tuple)):
        return cell == ", ".join(f"`{word}`" for word in ([default] if isinstance(default, str) else default))
    return re.fullmatch(r"[\d.]+", cell) is not None and float(cell) == float(str(default))


@pytest.mark.parametrize(
    ("model", "page", "heading"),
    [
        (Timeouts, CONFIGURATION, "Our own blocks"),
        (Gate, CONFIGURATION, "Our own blocks"),
        (Precheck, CONFIGURATION, "Our own blocks"),
        (VerdictBlock, CONFIGURATION, "Our own blocks"),
        (MetricRules, CONFIGURATION, "Our own blocks"),
        (Slo, CONFIGURATION, "Our own blocks"),
        (ModelSource, MACHINE, "Models"),
        (MachineRules, MACHINE, "The machine"),
        (Clocks, MACHINE, "Clocks"),
        (Telemetry, TELEMETRY, "The case file"),
        (SimSettings, ENGINES, "Timing model"),
        (SimFault, ENGINES, "Faults"),
    ],
)
def test_every_key_of_a_block_is_named_with_its_default(model: type[BaseModel], page: Path, heading: str) -> None:
    table = first_cells(section(page, heading))
    for name, field in model.model_fields.items():
        cell = table.get(name, "")
        right = cell == "required" if field.is_required() else says(cell, field.default)
        assert right, f"{page.name}, {heading}: {model.__name__}.{name} is {field.default!r}, the page says {cell!r}"


def test_every_rehearse_limit_is_named_with_its_default() -> None:
    table = first_cells(section(CONFIGURATION, "Rehearsals"))
    assert {name: table.get(name) for name in asdict(RehearseLimits())} == {
        name: str(default) for name, default in asdict(RehearseLimits()).items()
    }


def test_every_option_is_named_with_its_twins() -> None:
    table = {cells[0].strip("`").partition(" ")[0]: cells for cells in rows(section(CONFIGURATION, "Options"))}
    for option in OPTIONS:
        assert option.flag in table, f"{option.flag} is not in the table of options"
        cells = table[option.flag]
        metavar = f" {option.metavar}" if option.metavar else ""
        twin = f"`{option.env}`" if option.env else "none"
        assert cells[:3] == [f"`{option.flag}{metavar}`", f"`{option.dest}`", twin]


def test_no_option_is_named_that_does_not_exist() -> None:
    known = {option.flag for option in OPTIONS}
    for page in PAGES:
        found = set(re.findall(r"--disagg-[a-z-]+[a-z]", page.read_text(encoding="utf-8")))
        assert found <= known, f"{page.name} names {sorted(found - known)}"


def commands_of(parser: argparse.ArgumentParser, words: str) -> Iterator[tuple[str, str]]:
    """Each ``command [action]`` with each of its options."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield from commands_of(inner, f"{words} {name}")
        for flag in action.option_strings:
            if flag.startswith("--") and flag != "--help":
                yield words, flag


def test_every_command_is_named_with_its_options() -> None:
    parser = argparse.ArgumentParser(prog="disagg", add_help=False)
    subparsers = parser.add_subparsers()
    for name in COMMANDS:
        import_module(f"pytest_disagg.cli.{name}").add_parser(subparsers)
    text = section(CONFIGURATION, "The `disagg` command")
    table = {cells[0].strip("`"): cells for cells in rows(text)}
    shared = text[text.index("`plan`, `up` and `bench` also take") :].partition("\n\n")[0]
    for words, flag in commands_of(parser, "disagg"):
        own = [" ".join(cells) for name, cells in table.items() if name.startswith(words)]
        assert own, f"{words} is not in the table of commands"
        also = shared if f"`{words.split()[1]}`" in shared else ""
        assert re.search(rf"{flag}\b(?!-)", " ".join([*own, also])), f"{words} {flag} is not documented"
    for name in COMMANDS:
        assert f"`disagg {name}" in README.read_text(encoding="utf-8"), f"README does not name disagg {name}"


def test_commands_in_examples_exist() -> None:
    for page in PAGES:
        for block in blocks(page, "", "bash", "console"):
            for name in re.findall(r"^(?:\$ )?disagg ([a-z]+)", block, re.MULTILINE):
                assert name in COMMANDS, f"{page.name}: disagg {name}"


def case_files(folder: Path) -> Iterator[Path]:
    """The YAML examples as files, under the names that their first lines give them."""
    for page in CASE_PAGES:
        for number, text in enumerate(blocks(page, "yaml")):
            named = re.match(r"# test_configs/(\S+\.yaml)\n", text)
            path = folder / (named[1] if named else f"{page.stem}-{number}.yaml")
            path.write_text(text, encoding="utf-8")
            yield path


def test_every_case_file_in_an_example_can_be_used(tmp_path: Path) -> None:
    files = list(case_files(tmp_path))
    assert len(files) >= 4
    for path in files:
        cases = offered_cases(path, environ={})
        assert cases, path.name
        for case in cases:
            deadlines(case)


def overrides() -> Iterator[str]:
    for page in PAGES:
        for block in blocks(page, "", "bash"):
            for line in block.splitlines():
                words = shlex.split(line, comments=True)
                yield from (value for flag, value in pairwise(words) if flag == "--disagg-set")


def test_every_override_in_an_example_fits_the_first_case(tmp_path: Path) -> None:
    first = next(path for path in case_files(tmp_path) if path.name == "first.yaml")
    found = list(overrides())
    assert {kind for kind in get_args(FaultKind) if any(f"kind: {kind}" in text for text in found)} == set(
        get_args(FaultKind)
    )
    for text in found:
        assert load_cases(str(first), settings=Settings(sets=(text,)), environ={})


def test_case_names_and_aliases_are_listed() -> None:
    own = section(CONFIGURATION, "Our own blocks")
    for name in get_args(CaseName):
        assert f"`{name}`" in own or "_upload" in name, name
    long = section(RESULTS, "Long form")
    table = first_cells(long)
    assert {alias: table[alias.upper()].strip("`") for alias in ALIASES} == dict(ALIASES)


def test_baseline_examples_give_what_they_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = blocks(RESULTS, "json", "csv", "console")
    assert len(examples) == 6
    for records, csv, shown in zip(examples[::3], examples[1::3], examples[2::3], strict=True):
        Path("records.jsonl").write_text(records, encoding="utf-8")
        Path("baseline.csv").write_text(csv, encoding="utf-8")
        command, _, expected = shown.partition("\n")
        main(shlex.split(command)[2:])
        assert capsys.readouterr().out == expected


def test_every_field_of_telemetry_is_named() -> None:
    text = section(TELEMETRY, "Fields of a record")
    for source, values in JOINED.items():
        for value in values:
            assert value in text, f"{source}: {value}"
    for value, known in ENGINE.items():
        for name in known.names:
            assert f"`{name}`" in second_cells(text, value), f"{value}: {name}"


def second_cells(text: str, word: str) -> str:
    """The second cell of each row whose first one is ``word``."""
    return " ".join(cells[1] for cells in rows(text) if cells[0] == f"`{word}`")


def sample(index: int) -> RequestSample:
    """A request of three tokens, with all that a sample can say."""
    begin = float(index)
    chunks = (begin + 0.1, begin + 0.2, begin + 0.3)
    return RequestSample(index, begin, begin, chunks[0], chunks[2], chunks[2], chunks, 4, 3, 3, True, 200, "", 1.5)


def test_every_metric_is_defined() -> None:
    text = section(RESULTS, "Metrics")
    defined = {word for cells in rows(text) for word in re.findall(r"`([^`]+)`", cells[0])}
    found = summarize([sample(0), sample(1)], duration_s=2.0, gpus=1, slo_ms={"ttft": 500.0})
    plain = {re.sub(r"^(mean|median|std|p\d\d)_", "", name) for name in found}
    assert plain <= defined, f"not defined: {sorted(plain - defined)}"
    for name in gating("e2e", spec_decoding=True):
        assert f"`{name}`" in text, name


def test_verdicts_kinds_and_exit_codes_are_those_of_the_code() -> None:
    text = section(RESULTS, "Verdicts and kinds of failure")
    verdicts, _, kinds = text.partition("| kind |")
    red = {cells[0].strip("`"): cells[2] for cells in rows(verdicts)}
    for word in WORDS:
        # "suspect" is for verdicts that compare with history, which a baseline CSV is not.
        assert word == "suspect" or red[word] == ("yes" if word in RED else "no"), word
    assert set(KINDS) <= {cells[0].strip("`") for cells in rows(kinds)}
    codes = {cells[0]: cells[1] for cells in rows(section(RESULTS, "Exit codes"))}
    for kind, code in EXIT_BY_KIND.items():
        assert kind in codes[str(code)]
    expected: Mapping[int, str] = {EXIT_OK: "ok", EXIT_CANCELLED: "cancelled", EXIT_INTERNAL: "internal"}
    assert all(codes[str(code)].startswith(word) for code, word in expected.items())
    assert "usage" in codes[str(EXIT_USAGE)]


def test_protocols_and_hooks_are_listed() -> None:
    text = ENGINES.read_text(encoding="utf-8") + CLIENTS.read_text(encoding="utf-8")
    for protocol in (Engine, LoadClient):
        for name in vars(protocol):
            if not name.startswith("_"):
                assert f"| `{name}(" in text, f"{protocol.__name__}.{name}"
    for name in vars(hookspecs):
        if name.startswith("pytest_"):
            assert f"| `{name}(" in text, name
    for page in PAGES:
        for block in blocks(page, "python"):
            ast.parse(block)


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def problem_of(page: Path, target: str) -> str:
    """Why a relative link leads nowhere; empty where it leads somewhere."""
    name, _, anchor = target.partition("#")
    path = (page.parent / name).resolve() if name else page
    if not path.exists():
        return f"{page.name}: {target}: no such file"
    headings = (
        re.findall(r"^#+ (.+)$", _BLOCK.sub("", path.read_text(encoding="utf-8")), re.MULTILINE) if anchor else []
    )
    return f"{page.name}: {target}: no such heading" if anchor and anchor not in map(slug, headings) else ""


def test_links_resolve() -> None:
    problems = [
        problem_of(page, target)
        for page in PAGES
        for target in re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", page.read_text(encoding="utf-8")))
        if not re.match(r"[a-z]+:", target)
    ]
    assert [problem for problem in problems if problem] == []
