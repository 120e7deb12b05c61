"""What makes listing thousands of files cheap must change nothing about which cases there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_disagg.config import yaml
from pytest_disagg.config.listing import ids_of, list_cases
from pytest_disagg.config.lookup import ConfigFiles
from pytest_disagg.config.names import explicit_server_names
from pytest_disagg.config.resolve import load_case
from pytest_disagg.config.scan import scan
from pytest_disagg.errors import ConfigError

BROKEN_TAIL = "worker_config:\n  gen: [1,\n  ctx: {}\n"


def test_a_broken_file_with_one_case_keeps_its_id_and_fails_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"cases: [disagg-e2e]\n{BROKEN_TAIL}")
    (case,) = ids_of(path)
    assert (case.id, case.problem) == ("disagg-e2e-x", None)
    with pytest.raises(ConfigError, match=r"x\.yaml:4: found "):
        load_case(case.id, path=path, environ={})


@pytest.mark.parametrize("cases", ["", "cases: [disagg-e2e, disagg-gen_only]\n"])
def test_a_broken_file_with_more_is_one_failing_case(tmp_path: Path, cases: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(cases + BROKEN_TAIL)
    (case,) = ids_of(path)
    assert case.id == "broken-x"
    assert case.problem is not None
    assert case.problem.line == len(cases.splitlines()) + 3


@pytest.mark.parametrize(
    "text", ["metadata: {}\nworker_config: {}\nmetadata: {}\n", "worker_config: {}\n---\nworker_config: {}\n"]
)
def test_a_key_that_comes_twice_is_one_failing_case(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    (case,) = ids_of(path)
    assert case.id == "broken-x"
    assert case.problem is not None
    assert case.problem.line == len(text.splitlines()) - (0 if text.startswith("metadata") else 1)


@pytest.mark.parametrize(
    "head", [b"\xef\xbb\xbfcases: [disagg-e2e]", b'"cases": [disagg-e2e]', b"'cases': [disagg-e2e]\r"]
)
def test_cases_are_found_behind_a_byte_order_mark_and_in_quotes(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(head + b"\nworker_config: {}\n")
    assert [case.id for case in ids_of(path)] == ["disagg-e2e-x"]


@pytest.mark.parametrize(
    "servers",
    [
        "- name: a\n- name: b\n",
        "  - name: a\n    max_batch_size: 1\n  - name: 'b-2'  # quoted\n",
        "  - max_batch_size: 1\n    name: a\n\n  # a note\n  - name: b\n",
        "  -   name: a\n      max_batch_size: 1\n  -   name: b\n",
        "  - name: a\n  -\n      name: b\n",
        "  - name: a\n  -\n    name: b\n",
        "  - name: a\n    client_configs:\n    - name: no-server\n  - name: b\n",
        "  - name: a\n    note: |\n      - name: no-server\n  - name: b\n",
        "  - &one\n    name: a\n  - <<: *one\n    name: b\n",
        "  - name: a\n  - max_batch_size: 1\n",
        "  - {name: a}\n  - name: b\n",
    ],
)
@pytest.mark.parametrize("after", ["", "metadata:\n  name: no-server\n", "others:\n  - name: no-server\n"])
def test_server_names_are_those_that_parsing_finds(tmp_path: Path, servers: str, after: str) -> None:
    path = tmp_path / "x.yaml"
    for text in (f"server_configs:\n{servers}{after}", f"# note\r\nserver_configs: # note\n{servers}{after}"):
        path.write_bytes(text.encode())
        assert scan(path).servers == explicit_server_names(yaml.load(path).data)


@pytest.mark.parametrize("text", ["worker_config: {}\n", "worker_config:", "a: 1\nworker_config:\tx\n"])
def test_a_key_is_found_wherever_it_stands(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    assert len(ids_of(path)) == 8


def test_keys_of_a_deeper_level_say_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("server_configs:\n- name: a\n  worker_config: {}\n  cases: [nonsense]\n")
    assert [case.id for case in ids_of(path)] == ["aggr_upload-x", "aggr_upload-x-a", "aggr-x", "aggr-x-a"]


def test_a_file_reached_twice_is_listed_once(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "x.yaml").write_text("worker_config: {}\n")
    (tmp_path / "other").symlink_to(inner)
    (tmp_path / "x.yaml").symlink_to(inner / "x.yaml")
    files = ConfigFiles([tmp_path, inner, tmp_path / "other"])
    assert files.by_stem == {"x": [tmp_path / "x.yaml"]}


def test_files_come_before_sub_folders_and_each_by_name(tmp_path: Path) -> None:
    for name in (
        "b/d.yaml",
        "a/e.yml",
        "a/.hidden.yaml",
        ".git/f.yaml",
        "baselines/g.yaml",
        "z.yaml",
        "c.yaml",
        "h.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("worker_config: {}\n")
    assert list(ConfigFiles([tmp_path]).by_stem) == ["c", "z", "e", "d"]


def test_links_that_lead_nowhere_break_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to(tmp_path / "loop.yaml")
    (tmp_path / "gone.yaml").symlink_to(tmp_path / "nothing")
    (tmp_path / "folder.yaml").symlink_to(tmp_path)
    (tmp_path / "x.yaml").write_text("cases: [disagg-e2e]\nworker_config: {}\n")
    listed = {case.id: case for case in list_cases([tmp_path])}
    assert sorted(listed) == ["broken-gone", "broken-loop", "disagg-e2e-x"]
    assert "No such file" in str(listed["broken-gone"].problem)
