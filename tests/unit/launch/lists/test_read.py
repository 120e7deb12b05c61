"""List files of every form: told apart, read, and what is wrong with them with file and line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_disagg.errors import ConfigError, UsageError
from pytest_disagg.launch.lists.entry import Entry
from pytest_disagg.launch.lists.facts import Facts, parse_facts
from pytest_disagg.launch.lists.markers import Markers
from pytest_disagg.launch.lists.read import form_of, read_lists, read_waives

DB = """\
version: 0.0.1
l0_gb200:
- condition:
    ranges:
      system_gpu_count: {gte: 8, lte: 8}
    wildcards:
      gpu:
      - '*gb200*'
      linux_distribution_name: ubuntu*
    terms:
      stage: post_merge
      supports_fp8: true
  tests:
  - perf/test_perf_sanity.py::test_e2e[disagg-e2e-a] TIMEOUT (120)  # slow
  # - perf/test_perf_sanity.py::test_e2e[disagg-e2e-disabled]
- condition:
    ranges:
      compute_capability: {gte: 9.0, lt: 10}
    terms: {stage: [pre_merge, post_merge]}
  tests:
  - perf/test_perf_sanity.py::test_e2e[disagg-e2e-b] XFAIL (bug)
- tests:
"""


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def targets(entries: Sequence[Entry]) -> list[str]:
    return [entry.target for entry in entries]


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [
        ("a.json", "", "json"),
        ("a.yml", "", "test-db"),
        ("a.txt", "# c\n\ndisagg-e2e-x\n", "text"),
        ("a", '[{"config_file": "x"}]', "json"),
        ("a.txt", "# c\nversion: 0.0.1\n", "test-db"),
        ("a", "", "text"),
    ],
)
def test_forms(name: str, text: str, form: str) -> None:
    assert form_of(Path(name), text) == form


def test_a_text_list(tmp_path: Path) -> None:
    (tmp_path / "cases").mkdir()
    case = write(tmp_path / "cases", "x.yaml", "")
    path = write(tmp_path, "list.txt", "\ufeffa TIMEOUT (5)\n# no\ncases/x.yaml\r\ncases/none.yaml\n")
    assert read_lists([path], {}).entries == (
        Entry("a", path, 1, Markers(timeout_min=5)),
        Entry(str(case), path, 3),
        Entry("cases/none.yaml", path, 4),
    )


def test_a_json_list(tmp_path: Path) -> None:
    text = '[\n {"config_file": "a",\n  "mode": "gen_only"},\n {"config_file": "b.yaml"}\n]\n'
    path = write(tmp_path, "list.json", text)
    assert read_lists([path], {}).entries == (Entry("a", path, 2, mode="gen_only"), Entry("b.yaml", path, 4))
    assert read_lists([write(tmp_path, "empty.json", " [ ] ")], {}).entries == ()


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('[{"config_fil": "a"}]', 1, "config_fil: found an unknown key, expected one of config_file, mode (did you"),
        ('[{"config_fil": "a"}]', 1, "config_file: found nothing, expected a file"),
        ('[\n{"config_file": "a", "mode": "dissag"}]', 2, "mode: found 'dissag', expected one of disagg, aggr, e2e"),
        ('[{"config_file": "a", "config_file": "b"}]', 1, "found the key again"),
        ('[{"config_file": 3}]', 1, "config_file: found 3"),
        ('["a"]', 1, "found 'a', expected an object"),
        ('{"config_file": "a"}', 1, "expected a list of"),
        ('[{"config_file": "a"}\n', 2, "found no JSON (expecting ',' or ']')"),
        ('[{"config_file": "a"}]\nx', 2, "found no JSON (more text after the list)"),
        ('[\n{"config_file": }]', 2, "found no JSON"),
        ("", 1, "expected a list of"),
    ],
)
def test_a_wrong_json_list(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = write(tmp_path, "list.json", text)
    with pytest.raises(ConfigError) as error:
        read_lists([path], {})
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path}:{line}: ")


@pytest.mark.parametrize(
    ("facts", "taken"),
    [
        ({}, ["a", "b"]),
        ({"gpu": "gb200"}, ["a", "b"]),
        ({"gpu": "NVIDIA GB200 NVL"}, ["a", "b"]),
        ({"gpu": "h100"}, ["b"]),
        ({"system_gpu_count": 8}, ["a", "b"]),
        ({"system_gpu_count": 12}, ["b"]),
        ({"stage": "pre_merge"}, ["b"]),
        ({"compute_capability": 9.0}, ["a", "b"]),
        ({"compute_capability": 10.0}, ["a"]),
        ({"supports_fp8": True}, ["a", "b"]),
        ({"supports_fp8": False}, ["b"]),
        ({"gpu": "gb200", "linux_distribution_name": "sles"}, ["b"]),
    ],
)
def test_conditions_of_a_test_db(tmp_path: Path, facts: Facts, taken: list[str]) -> None:
    entries = read_lists([write(tmp_path, "l0_gb200.yml", DB)], facts).entries
    names = [target.rpartition("[")[2].rstrip("]") for target in targets(entries)]
    assert names == [f"disagg-e2e-{name}" for name in taken]


def test_entries_of_a_test_db_have_lines_and_markers(tmp_path: Path) -> None:
    path = write(tmp_path, "l0_gb200.yml", DB)
    lists = read_lists([path], {"gpu": "gb200"})
    assert [(entry.line, entry.markers) for entry in lists.entries] == [
        (14, Markers(timeout_min=120)),
        (21, Markers(xfail="bug")),
    ]
    assert f"{path}: 3 of 3 blocks taken (gpu='gb200')" in lists.notes
    assert lists.notes[-1].startswith("not known, so excluding nothing: compute_capability, linux_distribution_name")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 1\n", "found no list, expected version and one list of blocks"),
        ("version: 1\na: []\nb: []\n", "expected version and one list of blocks"),
        ("version: 1\na: {}\n", ":2: a: found an empty mapping, expected a list of blocks"),
        ("a:\n- tests: []\n  conditions: {}\n", ":3: a.0.conditions: found an unknown key, expected one of condition"),
        ("a:\n- condition:\n    term: {x: 1}\n", ":3: a.0.condition.term: found an unknown key"),
        ("a:\n- condition:\n    ranges:\n      gpus: {ge: 8}\n", ":4: a.0.condition.ranges.gpus: found"),
        ("a:\n- condition:\n    terms: {x: {}}\n", "expected a value, or a list of them"),
        ("a:\n- tests:\n  - x FOO\n", ":3: found 'FOO'"),
        ("a:\n- tests:\n  - {x: 1}\n", ":3: a.0.tests.0: found a mapping, expected a test line"),
        ("a:\n- x\n", ":2: a.0: found 'x', expected a block"),
        ("worker_config: {}\n", "found a case file, expected a test list (give a case file as CASE)"),
        ("a: [\n", "list.yml:"),
    ],
)
def test_a_wrong_test_db(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_lists([write(tmp_path, "list.yml", text)], {})
    assert message in str(error.value)


def test_all_files_are_reported_at_once(tmp_path: Path) -> None:
    paths = [write(tmp_path, "a.txt", "x FOO\n"), tmp_path / "missing.txt", write(tmp_path, "b.json", "{}")]
    with pytest.raises(ConfigError) as error:
        read_lists(paths, {})
    assert [problem.path for problem in error.value.problems] == paths


def test_a_list_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"a\n\xff\n")
    with pytest.raises(ConfigError, match=r"list\.txt:2: found bytes that are no UTF-8"):
        read_waives([path])


def test_facts() -> None:
    texts = ["gpu=gb200, system_gpu_count=8", '{"stage": "post_merge", "supports_fp8": true}', "cpu=*86*"]
    assert parse_facts(texts) == {
        "gpu": "gb200",
        "system_gpu_count": 8,
        "stage": "post_merge",
        "supports_fp8": True,
        "cpu": "*86*",
    }


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["gpu"], "found 'gpu', expected name=value or a JSON object"),
        (["gpu=a", "gpu=b"], "gpu: given twice"),
        (["{"], "found no JSON"),
        (['{"gpu": ["a"]}'], "gpu: found ['a'], expected a text"),
        (["gpu=[a]"], "gpu: found ['a'], expected a text"),
    ],
)
def test_wrong_facts(texts: list[str], message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_facts(texts)
    assert message in str(error.value)


def test_facts_that_no_block_asks_for(tmp_path: Path) -> None:
    path = write(tmp_path, "l0_gb200.yml", DB)
    with pytest.raises(UsageError, match="no block asks for 'stge' \\(did you mean 'stage'"):
        read_lists([path], {"stge": "post_merge"})
    assert len(read_lists([path], {"driver": "570"}).entries) == 2
    with pytest.raises(UsageError, match="system_gpu_count: found 'many', expected a number"):
        read_lists([path], {"system_gpu_count": "many"})
    with pytest.raises(UsageError, match="no test-db file is among the lists"):
        read_lists([write(tmp_path, "a.txt", "x\n")], {"gpu": "x"})
