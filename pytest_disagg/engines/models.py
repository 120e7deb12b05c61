"""Where the files of a model lie, from its name in a case file."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_disagg.config.case import Case
from pytest_disagg.config.placeholders import is_placeholder
from pytest_disagg.engines.protocol import Site

FOLDERS_IN = Path("tests/integration/defs/perf/test_perf_sanity.py")
FOLDERS_NAME = "MODEL_PATH_DICT"


def model_path(case: Case, model: str, site: Site) -> str:
    """A folder where one is there, else the name: engines fetch such a model by it.

    Looked at, in this order: ``environment.model_path`` of the file, as it is; below the models root the folder that
    the TensorRT-LLM checkout gives that name (``MODEL_PATH_DICT`` of its perf test), the file's
    ``metadata.model_dir_name``, and the name itself.
    """
    if given := _given(case):
        return given
    if site.models_root is None or Path(model).is_absolute():
        return model
    for folder in _folders(case, model, site):
        if (site.models_root / folder).is_dir():
            return str(site.models_root / folder)
    return model


def model_folder(case: Case, model: str, site: Site) -> Path | None:
    """Where a model that is missing belongs, so that :func:`model_path` finds it there; None without a models root."""
    found = model_path(case, model, site)
    if _given(case) or Path(found).is_absolute():
        return Path(found)
    return None if site.models_root is None else site.models_root / next(_folders(case, model, site))


def _given(case: Case) -> str:
    """What the file says; empty where nobody filled it in."""
    given = _block(case, "environment").get("model_path")
    return given if isinstance(given, str) and not is_placeholder(given) else ""


def _folders(case: Case, model: str, site: Site) -> Iterator[str]:
    if site.llm_src is not None:
        known = _known_folders(site.llm_src / FOLDERS_IN)
        if model in known:
            yield known[model]
    named = _block(case, "metadata").get("model_dir_name")
    if isinstance(named, str) and named:
        yield named
    yield model


def _known_folders(path: Path) -> Mapping[str, str]:
    """The dictionary as it stands in the source, read as data; empty where there is none."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return {}
    values = [node.value for node in tree.body if isinstance(node, (ast.Assign, ast.AnnAssign)) and _is_it(node)]
    try:
        found: Any = ast.literal_eval(values[0]) if values and values[0] else {}
    except ValueError:
        return {}
    return {str(name): str(folder) for name, folder in found.items()} if isinstance(found, dict) else {}


def _is_it(node: ast.Assign | ast.AnnAssign) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [ast.unparse(each) for each in targets] == [FOLDERS_NAME]


def _block(case: Case, name: str) -> Mapping[str, Any]:
    block = case.document.get(name)
    return block if isinstance(block, Mapping) else {}
