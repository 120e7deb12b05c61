"""The programs run on nodes: Python 3.8 syntax, standard library only, nothing of the rest of the package."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_disagg

FILES = sorted((Path(pytest_disagg.__file__).parent / "wrapper").glob("*.py"))


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a program started as a file has no package to be relative to"
            yield node.module or ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_module_can_be_read_by_python_3_8_and_needs_nothing(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path), feature_version=(3, 8))
    for name in imported(tree):
        top = name.partition(".")[0]
        if top == "pytest_disagg":
            assert name.startswith("pytest_disagg.wrapper"), f"{path.name} imports {name}"
        else:
            assert top in sys.stdlib_module_names, f"{path.name} imports {name}"


def test_nothing_else_imports_the_programs() -> None:
    package = Path(pytest_disagg.__file__).parent
    for path in package.rglob("*.py"):
        if "wrapper" not in path.relative_to(package).parts:
            names = imported_anyhow(ast.parse(path.read_text(encoding="utf-8")))
            assert not [name for name in names if name.startswith("pytest_disagg.wrapper")], path


def imported_anyhow(tree: ast.Module) -> list[str]:
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return names + [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
