from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_disagg.config.lookup import ConfigFiles, search_dirs
from pytest_disagg.errors import ConfigError

Write = Callable[..., Path]


def test_directories_in_order_each_once(tmp_path: Path) -> None:
    environ = {"AGG_CONFIG_FOLDER": "agg", "DISAGG_CONFIG_FOLDER": str(tmp_path / "own")}
    llm_src = tmp_path / "llm"
    assert search_dirs([tmp_path / "own"], environ, llm_src) == (
        tmp_path / "own",
        llm_src / "agg",
        llm_src / "tests/scripts/perf-sanity/aggregated",
        llm_src / "tests/scripts/perf-sanity/disaggregated",
        llm_src / "tests/integration/defs/perf/disagg/test_configs/disagg/perf",
        llm_src / "tests/integration/defs/perf/disagg/test_configs/wideep/perf",
    )


def test_a_relative_folder_without_a_checkout_is_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert search_dirs(["own"], {"DISAGG_CONFIG_FOLDER": "dis"}) == (tmp_path / "own", tmp_path / "dis")


@pytest.mark.parametrize(
    "folder",
    [
        "tests/scripts/perf-sanity/disaggregated",
        "tests/integration/defs/perf/disagg/test_configs/disagg/perf",
        "tests/integration/defs/perf/disagg/test_configs/wideep/perf",
    ],
)
@pytest.mark.parametrize("target", ["x-y", "disagg_upload-e2e-x-y", "disagg_upload-x-y", "x-y.yaml"])
def test_a_name_or_an_id_is_found_in_a_tensorrt_llm_checkout(
    write: Write, disagg: str, tmp_path: Path, folder: str, target: str
) -> None:
    path = write(f"{folder}/x-y.yaml", disagg)
    found = ConfigFiles(search_dirs([], {}, tmp_path)).find(target)
    assert found.path == path
    assert (found.id is not None) == target.startswith("disagg")


def test_a_path_and_a_node_id(write: Write, disagg: str, tmp_path: Path) -> None:
    path = write("x.yaml", disagg)
    assert ConfigFiles([]).find(str(path)).path == path
    found = ConfigFiles([tmp_path]).find("perf/test_perf_sanity.py::test_e2e[disagg-e2e-x] TIMEOUT (60)")
    assert found.id is not None
    assert found.id.text == "disagg-e2e-x"


def test_not_found_lists_every_directory_and_the_closest_name(write: Write, disagg: str, tmp_path: Path) -> None:
    write("gb200_model.yaml", disagg)
    files = ConfigFiles([tmp_path, tmp_path / "nowhere"])
    for target in ("gb20_model", "disagg-e2e-gb20_model", "gb20_model.yaml"):
        with pytest.raises(ConfigError) as caught:
            files.find(target)
        message = str(caught.value)
        assert f"{tmp_path}, {tmp_path}/nowhere (not there)" in message
        assert "did you mean 'gb200_model'?" in message


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"a\.yaml: found no such file"):
        ConfigFiles([]).find(str(tmp_path / "a.yaml"))


def test_a_name_in_two_places_is_an_error_naming_both(write: Write, disagg: str, tmp_path: Path) -> None:
    first, second = write("a/x.yaml", disagg), write("b/x.yml", disagg)
    for target in ("x", "disagg-e2e-x"):
        with pytest.raises(ConfigError) as caught:
            ConfigFiles([tmp_path / "a", tmp_path / "b"]).find(target)
        assert str(first) in str(caught.value)
        assert str(second) in str(caught.value)


def test_a_name_that_looks_like_an_id(write: Write, disagg: str, aggregated: str, tmp_path: Path) -> None:
    path = write("aggr-thing.yaml", aggregated)
    assert ConfigFiles([tmp_path]).find("aggr-thing").path == path
    write("thing.yaml", aggregated)
    with pytest.raises(ConfigError, match=r"the config .*aggr-thing\.yaml and an id of .*/thing\.yaml"):
        ConfigFiles([tmp_path]).find("aggr-thing")


def test_servers_with_derived_names_can_be_asked_for(write: Write, tmp_path: Path) -> None:
    write(
        "x.yaml",
        "metadata: {model_name: m}\nserver_configs:\n- tensor_parallel_size: 2\n  moe_config: {backend: CUTEDSL}\n",
    )
    found = ConfigFiles([tmp_path]).find("aggr-x-m_tp2_ep1_pp1_cp1_bs512_attnTRTLLM_moeCUTEDSL")
    assert found.id is not None
    assert found.id.servers == ("m_tp2_ep1_pp1_cp1_bs512_attnTRTLLM_moeCUTEDSL",)
    with pytest.raises(ConfigError, match="no server 'nope' in 'x'"):
        ConfigFiles([tmp_path]).find("aggr-x-nope")


def test_a_broken_file_is_found_so_that_loading_it_says_why(write: Write, tmp_path: Path) -> None:
    path = write("x.yaml", "worker_config: [\n")
    assert ConfigFiles([tmp_path]).find("disagg-e2e-x").path == path
    assert ConfigFiles([tmp_path]).find("aggr-x-server").path == path


def test_a_cluster_file_is_no_case(write: Write, tmp_path: Path) -> None:
    write("site.yaml", "clusters: {}\n")
    with pytest.raises(ConfigError, match="a cluster file"):
        ConfigFiles([tmp_path]).find("disagg-e2e-site")
