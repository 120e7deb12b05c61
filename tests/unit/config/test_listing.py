from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_disagg.config import listing
from pytest_disagg.config.ids import has_prefix
from pytest_disagg.config.listing import Listed, ids_of, list_cases
from pytest_disagg.config.lookup import ConfigFiles
from pytest_disagg.config.scan import scan

Write = Callable[..., Path]

EIGHT = [
    "disagg_upload-e2e-x",
    "disagg_upload-gen_only-x",
    "disagg_upload-gen_only_no_context-x",
    "disagg-e2e-x",
    "disagg-gen_only-x",
    "disagg-gen_only_no_context-x",
    "aggr_upload-ctx_only-x",
    "aggr-ctx_only-x",
]


def names(listed: list[Listed]) -> list[str]:
    return [case.id for case in listed]


def files_read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file that is read from now on."""
    read: list[Path] = []
    original = Path.read_bytes

    def read_bytes(self: Path) -> bytes:
        read.append(self)
        return original(self)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    return read


def test_a_disaggregated_file_offers_the_product_of_the_grammar(write: Write, disagg: str) -> None:
    assert names(ids_of(write("x.yaml", disagg))) == EIGHT


def test_an_aggregated_file_offers_itself_and_each_of_its_servers(write: Write, aggregated: str) -> None:
    expected = [f"{p}-x{server}" for p in ("aggr_upload", "aggr") for server in ("", "-small", "-large")]
    assert names(ids_of(write("x.yaml", aggregated))) == expected


def test_a_file_of_our_own_offers_what_it_lists(write: Write, disagg: str, aggregated: str) -> None:
    assert names(ids_of(write("x.yaml", f"cases: [disagg-e2e, aggr-ctx_only]\n{disagg}"))) == [
        "disagg-e2e-x",
        "aggr-ctx_only-x",
    ]
    block = f"cases:\n- disagg-gen_only # why not\n{disagg}"
    assert names(ids_of(write("x.yaml", block))) == ["disagg-gen_only-x"]
    assert names(ids_of(write("x.yaml", f"cases: [aggr]\n{aggregated}"))) == ["aggr-x", "aggr-x-small", "aggr-x-large"]


def test_one_server_in_a_file_of_our_own_is_one_case(write: Write, aggregated: str) -> None:
    one = aggregated[: aggregated.index("  - name: large")]
    assert names(ids_of(write("x.yaml", f"cases: [aggr]\n{one}"))) == ["aggr-x"]
    assert "aggr-x-small" in names(ids_of(write("x.yaml", one)))


@pytest.mark.parametrize(
    "servers",
    [
        "server_configs: [{name: small, client_configs: []}, {name: large}]\n",
        "server_configs:\n- name: small\n  x: 1\n- x: 1\n  name: 'large'\n",
        'server_configs:\n\n  # why\n  -   name: "small" # a\n      clients:\n      - name: other\n  -   name: large\n',
        "server_configs:\n  -\n    name: small\n  - name: large\n",
        "server_configs:\n- &a\n  name: small\n- <<: *a\n  name: large\n",
        "base: &b {name: large}\nserver_configs:\n- name: small\n- <<: *b\n",
        '"server_configs":\n- name: small\n- name: large\n',
        "{server_configs: [{name: small}, {name: large}]}\n",
        "server_configs:\n- name: small\n- x: 1\n- name: large\nmetadata:\n  name: no\n",
        "server_configs:\r\n- name: small\r\n- name: large\r\n",
    ],
)
def test_server_names_however_they_are_written(write: Write, servers: str) -> None:
    assert scan(write("x.yaml", servers)).servers == ("small", "large")


def test_a_flow_style_file_is_read_too(write: Write) -> None:
    assert names(ids_of(write("x.yaml", "{cases: [disagg-e2e], worker_config: {}}\n"))) == ["disagg-e2e-x"]


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ("worker_config:\n  gen: [1\n", 2, "did not find expected ',' or ']'"),
        ("", 1, "an empty file"),
        ("metadata: {}\n", 1, "neither worker_config nor server_configs"),
        ("worker_config: {}\nserver_configs: []\n", 2, "worker_config and server_configs"),
        ("worker_config: {}\ncases: [disagg-e2]\n", 2, "'disagg-e2'"),
        ("worker_config: {}\ncases: []\n", 2, "[]"),
        ("worker_config: {}\ncases: disagg-e2e\n", 2, "'disagg-e2e'"),
        ("server_configs: []\ncases: [disagg-e2e]\n", 2, "'disagg-e2e'"),
        ("worker_config: {}\ncases: [disagg-e2e, disagg-e2e]\n", 2, "disagg-e2e twice"),
        (b"worker_config:\n  \xff\n", 2, "invalid"),
    ],
)
def test_a_broken_file_is_one_failing_case(write: Write, text: str | bytes, line: int | None, found: str) -> None:
    (case,) = ids_of(write("x.yaml", text))
    assert case.id == "broken-x"
    assert case.problem is not None
    assert case.problem.path == case.path
    assert case.problem.line == line
    assert found in case.problem.found


def test_a_misspelt_kind_gets_a_suggestion(write: Write) -> None:
    (case,) = ids_of(write("x.yaml", "worker_confg: {}\n"))
    assert "did you mean 'worker_config'?" in str(case.problem)


def test_broken_files_break_no_others(write: Write, disagg: str, tmp_path: Path) -> None:
    write("a.yaml", "a: [")
    write("b.yaml", disagg)
    listed = list_cases([tmp_path])
    assert [case.id for case in listed if case.error] == ["broken-a"]
    assert len(listed) == 9


def test_baselines_hidden_folders_and_cluster_files_are_never_cases(write: Write, disagg: str, tmp_path: Path) -> None:
    for name in ("baselines/a.yaml", ".git/b.yaml", ".c.yaml", "sub/baselines/d.yaml", "e.txt"):
        write(name, disagg)
    write("cluster.yaml", "partition: x\n")
    write("sites.yaml", "clusters:\n  one: {}\n")
    assert list_cases([tmp_path]) == []
    write("cluster-like.yaml", disagg)
    write("sub/deeper/y.yml", disagg)
    assert {case.path.name for case in list_cases([tmp_path])} == {"cluster-like.yaml", "y.yml"}


def test_a_name_twice_is_one_failing_case_naming_both(write: Write, disagg: str, tmp_path: Path) -> None:
    first, second = write("a/x.yaml", disagg), write("b/x.yml", disagg)
    (case,) = list_cases([tmp_path])
    assert case.id == "broken-x"
    assert str(first) in str(case.problem)
    assert str(second) in str(case.problem)


def test_the_same_file_by_two_ways_is_one_file(write: Write, disagg: str, tmp_path: Path) -> None:
    write("a/x.yaml", disagg)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert names(list_cases([tmp_path, tmp_path / "a", tmp_path / "link"])) == EIGHT


def test_an_id_that_two_files_offer_is_the_longer_names_and_a_failing_case(
    write: Write, aggregated: str, tmp_path: Path
) -> None:
    short = write("a.yaml", aggregated)
    long = write("a-small.yaml", aggregated)
    listed = {case.id: case for case in list_cases([tmp_path])}
    assert listed["aggr-a-small"].path == long
    broken = listed["broken-a"]
    assert broken.path == short
    assert "the test id 'aggr" in str(broken.problem)


def test_each_file_is_read_once_for_a_listing(
    write: Write, disagg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("x.yaml", disagg)
    read = files_read(monkeypatch)
    list_cases([tmp_path])
    assert len(read) == 1


def test_an_id_opens_its_own_file_only(
    write: Write, disagg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = write("x.yaml", disagg)
    write("y.yaml", disagg)
    read = files_read(monkeypatch)
    assert ConfigFiles([tmp_path]).find("disagg-e2e-x").path == wanted
    assert read == [wanted]


def test_broken_ids_are_no_ids_of_the_grammar() -> None:
    assert not has_prefix(f"{listing.BROKEN}x")
