"""Where a model lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_disagg.config.case import Case
from pytest_disagg.config.resolve import load_cases
from pytest_disagg.engines.models import FOLDERS_IN, model_folder, model_path
from pytest_disagg.engines.protocol import Site

AGGREGATED: dict[str, Any] = {
    "cases": ["aggr"],
    "metadata": {"model_name": "m"},
    "hardware": {"gpus_per_node": 4},
    "server_configs": [{"name": "one", "client_configs": [{"concurrency": 1}]}],
}


def case(tmp_path: Path, **metadata: str) -> Case:
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump({**AGGREGATED, "metadata": {"model_name": "m", **metadata}}))
    (found,) = load_cases(str(path), environ={})
    return found


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A models root, and a checkout whose perf test knows a folder for ``m``."""
    source = tmp_path / "src" / FOLDERS_IN
    source.parent.mkdir(parents=True)
    source.write_text('import os\nMODEL_PATH_DICT = {"m": "deep/m_fp4"}\n')
    (tmp_path / "models").mkdir()
    return Site(models_root=tmp_path / "models", llm_src=tmp_path / "src")


def test_a_name_where_nothing_is_known(tmp_path: Path) -> None:
    assert model_path(case(tmp_path), "org/m", Site()) == "org/m"
    assert model_path(case(tmp_path), "org/m", Site(models_root=tmp_path)) == "org/m"


def test_the_folder_that_the_checkout_names_lies_first(tmp_path: Path, site: Site) -> None:
    root = tmp_path / "models"
    found = []
    for folder in ("m", "named", "deep/m_fp4"):
        (root / folder).mkdir(parents=True)
        found.append(model_path(case(tmp_path, model_dir_name="named"), "m", site))
    assert found == [str(root / folder) for folder in ("m", "named", "deep/m_fp4")]


def test_an_absolute_path_stays(tmp_path: Path, site: Site) -> None:
    assert model_path(case(tmp_path), "/models/m", site) == "/models/m"


@pytest.mark.parametrize(
    ("source", "folder"),
    [
        ('MODEL_PATH_DICT: dict[str, str] = {"m": "typed"}', "typed"),
        ('MODEL_PATH_DICT = {"m": name()}', None),
        ("MODEL_PATH_DICT = [1]", None),
        ("def (", None),
        ("OTHER = {}", None),
    ],
)
def test_the_dictionary_is_read_as_data(tmp_path: Path, site: Site, source: str, folder: str | None) -> None:
    (tmp_path / "src" / FOLDERS_IN).write_text(source)
    (tmp_path / "models" / "typed").mkdir()
    expected = "m" if folder is None else str(tmp_path / "models" / folder)
    assert model_path(case(tmp_path), "m", site) == expected


def test_a_missing_model_belongs_where_it_is_looked_for(tmp_path: Path, site: Site) -> None:
    root = tmp_path / "models"
    assert model_folder(case(tmp_path), "m", site) == root / "deep/m_fp4"
    assert model_folder(case(tmp_path, model_dir_name="named"), "other", site) == root / "named"
    assert model_folder(case(tmp_path), "org/other", site) == root / "org/other"
    assert model_folder(case(tmp_path), "/models/m", site) == Path("/models/m")
    assert model_folder(case(tmp_path), "m", Site()) is None
    # One that is there stays where it is, whatever else could be its folder.
    (root / "m").mkdir()
    assert model_folder(case(tmp_path), "m", site) == root / "m"


def test_what_the_file_says_counts_unless_nobody_filled_it_in(tmp_path: Path, site: Site) -> None:
    document = {
        "cases": ["disagg-e2e"],
        "metadata": {"model_name": "m"},
        "environment": {"model_path": "<model_path>"},
        "hardware": {"gpus_per_node": 4, "num_ctx_servers": 1, "num_gen_servers": 1},
        "worker_config": {"gen": {}, "ctx": {}},
    }
    path = tmp_path / "d.yaml"
    for given, expected in (("<model_path>", "m"), ("/here/m", "/here/m"), ("here/m", "here/m")):
        path.write_text(yaml.safe_dump({**document, "environment": {"model_path": given}}))
        (found,) = load_cases(str(path), environ={})
        assert model_path(found, "m", site) == expected
        assert model_folder(found, "m", site) == (tmp_path / "models/deep/m_fp4" if expected == "m" else Path(expected))
