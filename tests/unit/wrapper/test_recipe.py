"""Which installation an environment asks for."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_disagg.wrapper.console import WrapperError
from pytest_disagg.wrapper.recipe import Recipe
from pytest_disagg.wrapper.retry import _TRANSIENT


@pytest.mark.parametrize(
    ("environ", "mode", "empty"),
    [
        ({}, "none", True),
        ({"llmSrcNode": "/s"}, "none", True),
        ({"POST_INSTALL_HOOK": "/h"}, "none", False),
        ({"llmTarfile": "https://h/a/x.tar.gz"}, "tarball", False),
        ({"llmTarfile": "/x.tar", "INSTALL_MODE": "none"}, "none", False),
        ({"WHEEL_PATH": "/w.whl"}, "wheel", False),
        ({"INSTALL_MODE": "wheel", "llmSrcNode": "/s"}, "wheel", False),
        ({"INSTALL_MODE": "source", "llmSrcNode": "/s"}, "source", False),
        ({"BUILD_WHEEL": "true", "llmSrcNode": "/s"}, "wheel", False),
        ({"DISAGG_INSTALL_COMMAND": "pip install x"}, "command", False),
        ({"llmTarfile": "/x.tar", "DISAGG_INSTALL_COMMAND": "make"}, "command", False),
    ],
)
def test_the_mode(environ: dict[str, str], mode: str, empty: bool) -> None:
    recipe = Recipe.of(environ)
    assert (recipe.mode, recipe.empty) == (mode, empty)


def test_a_tarball_keeps_its_name_without_query_and_credentials() -> None:
    recipe = Recipe.of({"llmTarfile": "https://u:p@h/a/x.tar.gz?sig=y", "resourcePathNode": "/r"})
    assert (recipe.archive, recipe.root) == ("x.tar.gz", Path("/r/TensorRT-LLM"))
    assert Recipe.of({"llmTarfile": "https://h/x", "tarName": "y.tar"}).archive == "y.tar"


def test_two_installations_do_not_share_a_claim() -> None:
    assert Recipe.of({"llmTarfile": "/a"}).work != Recipe.of({"llmTarfile": "/b"}).work
    assert Recipe.of({"llmTarfile": "/a", "X": "1"}).work == Recipe.of({"llmTarfile": "/a"}).work


@pytest.mark.parametrize("environ", [{"INSTALL_MODE": "source"}, {"INSTALL_MODE": "wheel"}, {"BUILD_WHEEL": "true"}])
def test_a_source_tree_that_is_needed_must_be_named(environ: dict[str, str]) -> None:
    with pytest.raises(WrapperError, match="llmSrcNode, the source tree, is not set"):
        Recipe.of(environ)


def test_an_unknown_mode_is_an_error() -> None:
    with pytest.raises(WrapperError, match="INSTALL_MODE: found 'whell', expected wheel, source or none"):
        Recipe.of({"INSTALL_MODE": "whell"})


@pytest.mark.parametrize(
    ("line", "transient"),
    [
        ("ReadTimeoutError: HTTPSConnectionPool(host='h', port=443): Read timed out.", True),
        ("ConnectionResetError(104, 'Connection reset by peer')", True),
        ("socket.gaierror: [Errno -3] Temporary failure in name resolution", True),
        ("ERROR: HTTP error 503 while getting https://h/x", True),
        ("502 Server Error: Bad Gateway for url: https://h/simple/", True),
        ("fatal: the remote end hung up unexpectedly", True),
        ("ERROR: HTTP error 404 while getting https://h/x", False),
        ("ERROR: No matching distribution found for nope==1.503", False),
        ("ERROR: x-500-py3.whl is not a supported wheel on this platform.", False),
        ("error: command 'gcc' failed with exit code 1", False),
        ("403 Client Error: Forbidden for url", False),
    ],
)
def test_only_what_may_pass_is_tried_again(line: str, transient: bool) -> None:
    assert bool(_TRANSIENT.search(line)) is transient
