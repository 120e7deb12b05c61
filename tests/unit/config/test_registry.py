from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from pytest_disagg.clients import registry as clients
from pytest_disagg.config.registry import Registry
from pytest_disagg.engines import registry as engines
from pytest_disagg.errors import UsageError

GROUP = "pytest_disagg.test"


def entries(*pairs: tuple[str, str]) -> EntryPoints:
    return EntryPoints(EntryPoint(name, value, GROUP) for name, value in pairs)


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The entry points that are installed, as (name, reference); fill it before the registry is first asked."""
    offered: list[tuple[str, str]] = []
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: entries(*offered))
    return offered


def make(**builtin: str) -> Registry[object]:
    return Registry(GROUP, "engine", builtin)


def test_names_are_builtins_entry_points_and_registered_ones(offer: list[tuple[str, str]]) -> None:
    offer += [("other", "somewhere:Thing"), ("mine", "builtins:dict")]
    registry = make(mine="builtins:dict")
    registry.register("added", object)

    assert registry.names() == ["added", "mine", "other"]


def test_get_makes_one_object_and_keeps_it(offer: list[tuple[str, str]]) -> None:
    offer.append(("thing", "builtins:dict"))
    registry = make()

    assert registry.get("thing") == {}
    assert registry.get("thing") is registry.get("thing")


def test_nothing_is_imported_before_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offer: list[tuple[str, str]]
) -> None:
    (tmp_path / "lazy_engine_module.py").write_text("class Engine: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    offer.append(("lazy", "lazy_engine_module:Engine"))
    registry = make()

    assert registry.names() == ["lazy"]
    assert "lazy_engine_module" not in sys.modules
    registry.get("lazy")
    assert sys.modules.pop("lazy_engine_module")


def test_an_unknown_name_lists_the_known_ones_and_the_closest(offer: list[tuple[str, str]]) -> None:
    offer += [("trtllm", "a:A"), ("vllm", "b:B")]
    with pytest.raises(UsageError) as error:
        make().get("trtlm")
    assert str(error.value) == "unknown engine 'trtlm', expected one of trtllm, vllm (did you mean 'trtllm'?)"


@pytest.mark.parametrize("reference", ["no_such_module:Engine", "builtins:no_such_class"])
def test_an_engine_that_cannot_be_loaded_says_which_and_why(offer: list[tuple[str, str]], reference: str) -> None:
    offer.append(("broken", reference))
    with pytest.raises(UsageError, match=rf"engine 'broken' \({reference}\) cannot be loaded: .*no_such"):
        make().get("broken")


def test_two_packages_with_one_name_fail_only_who_asks_for_it(offer: list[tuple[str, str]]) -> None:
    offer += [("x", "builtins:dict"), ("x", "builtins:list"), ("y", "builtins:dict")]
    registry = make()

    assert registry.get("y") == {}
    with pytest.raises(
        UsageError, match="several installed packages offer the engine 'x': builtins:dict, builtins:list"
    ):
        registry.get("x")


@pytest.mark.parametrize("builtin_first", [True, False])
def test_another_packages_entry_lies_over_a_builtin(offer: list[tuple[str, str]], builtin_first: bool) -> None:
    both = [("x", "builtins:dict"), ("x", "builtins:list")]
    offer += both if builtin_first else both[::-1]

    assert make(x="builtins:dict").get("x") == []


def test_registered_lies_over_installed_until_unregistered(offer: list[tuple[str, str]]) -> None:
    offer.append(("x", "builtins:dict"))
    registry = make()
    assert registry.get("x") == {}

    registry.register("x", list)
    assert registry.get("x") == []

    registry.unregister("x")
    assert registry.get("x") == {}


def test_builtins_are_what_the_project_declares_as_entry_points() -> None:
    pyproject = (Path(__file__).parents[3] / "pyproject.toml").read_text()
    for group, builtin in (("engines", engines.BUILTIN), ("clients", clients.BUILTIN)):
        section = pyproject.split(f'[project.entry-points."pytest_disagg.{group}"]\n')[1].split("\n\n")[0]
        assert section.splitlines() == [f'{name} = "{reference}"' for name, reference in builtin.items()]


def test_our_engines_and_clients_are_known() -> None:
    assert "sim" in engines.names()
    assert "native" in clients.names()
