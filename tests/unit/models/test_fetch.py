"""A model is fetched whole or not at all, and from where the case says; against a stand-in of the Hub's HTTP API."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.models import fetch as program
from pytest_disagg.models import hub as from_hub
from pytest_disagg.models.fetch import fetch
from pytest_disagg.models.request import FetchError, FetchRequest, check_origin, in_words, origin, read_holder, size_of
from pytest_disagg.redact import redact
from tests.standins.hub import COMMIT, Hub

FILES = {"config.json": b"{}", "model/weights.safetensors": b"w" * 100_000, "original/weights.pth": b"o" * 10}
TOKEN = "hf_stand_in_token_0123456789"


@pytest.fixture(autouse=True)
def _nobody_s_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub("org/tiny", dict(FILES)).serving() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


@pytest.fixture
def request_(tmp_path: Path) -> FetchRequest:
    target = tmp_path / "models/tiny"
    return FetchRequest(target, "GEN_0 of run r on n1", "n1", tmp_path / "answer.json", repo="org/tiny")


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def beside(request: FetchRequest) -> list[str]:
    return sorted(path.name for path in request.target.parent.iterdir())


def error_of(request: FetchRequest) -> str:
    with pytest.raises(FetchError) as error:
        fetch(request)
    assert not request.target.exists()
    return str(error.value)


def by_command(request: FetchRequest, code: str) -> FetchRequest:
    return replace(request, repo=None, command=(sys.executable, "-c", code, "{folder}"))


def test_a_snapshot_is_fetched_once(hub: Hub, request_: FetchRequest) -> None:
    asked = replace(request_, exclude=("original/*",))
    first = fetch(asked)
    assert (first.fetched, first.commit, first.size) == (True, COMMIT, 100_002)
    assert names(asked.target) == [".disagg-model.json", "config.json", "model/weights.safetensors"]
    assert (asked.target / "model/weights.safetensors").read_bytes() == FILES["model/weights.safetensors"]
    assert origin(asked.target) == {"repo": "org/tiny", "revision": "main", "exclude": ["original/*"], "commit": COMMIT}
    assert beside(asked) == [".tiny.lock", "tiny"]
    # A branch may move between two questions.
    assert (hub.revisions[0], set(hub.revisions[1:])) == ("main", {COMMIT})

    assert not fetch(asked).fetched
    assert sorted(hub.sent) == ["config.json", "model/weights.safetensors"]


def test_a_folder_of_somebody_else_is_taken_as_it_is(hub: Hub, request_: FetchRequest) -> None:
    request_.target.mkdir(parents=True)
    assert not fetch(request_).fetched
    assert hub.sent == []


def test_a_folder_fetched_from_elsewhere_is_an_error(hub: Hub, request_: FetchRequest) -> None:
    fetch(request_)
    with pytest.raises(FetchError, match=r"fetched with revision 'main', the case asks for revision 'v2'"):
        check_origin(replace(request_, revision="v2"))


def test_a_token_that_is_refused(
    hub: Hub, request_: FetchRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.token = TOKEN
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else_entirely")
    words = error_of(request_)
    assert words.startswith(
        f"cannot fetch org/tiny at main from {hub.url}: HTTP 401; expected a token that may read it"
    )
    assert "hf_of" not in words

    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert fetch(replace(request_, token_file=str(tmp_path / "token"))).fetched
    assert TOKEN not in redact(f"a library that prints {TOKEN}")


def test_a_token_file_that_is_not_there(hub: Hub, request_: FetchRequest, tmp_path: Path) -> None:
    assert "model.token_file /no/such/file: No such file" in error_of(replace(request_, token_file="/no/such/file"))
    (tmp_path / "empty").write_text("\n")
    assert "found nothing in it, expected a token" in error_of(replace(request_, token_file=str(tmp_path / "empty")))


def test_no_such_repository_or_revision(hub: Hub, request_: FetchRequest) -> None:
    for asked in (replace(request_, repo="org/none"), replace(request_, revision="v2")):
        words = error_of(asked)
        assert words.startswith(
            f"cannot fetch {asked.source_words} from {hub.url}: HTTP 404; expected a repository and"
        )


def test_nobody_answers(request_: FetchRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "from http://127.0.0.1:9: Connect" in error_of(request_)


def test_a_model_that_cannot_fit_is_not_begun(hub: Hub, request_: FetchRequest) -> None:
    hub.sizes["model/weights.safetensors"] = 10**18
    assert "org/tiny at main has 1000000000.0 GB; " in error_of(request_)
    assert hub.sent == []


def test_a_disk_that_is_full_half_way(hub: Hub, request_: FetchRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(request: FetchRequest, folder: Path) -> str:
        (folder / "half").write_bytes(b"x")
        raise OSError(errno.ENOSPC, "No space left on device", str(folder / "half"))

    monkeypatch.setattr(from_hub, "fetch", full)
    assert "half: No space left on device; " in error_of(request_)
    # Room for others, and nothing that looks like a model.
    assert beside(request_) == [".tiny.lock"]


def test_what_was_fetched_before_a_failure_is_not_fetched_again(hub: Hub, request_: FetchRequest) -> None:
    weights = hub.files.pop("model/weights.safetensors")
    error_of(request_)
    assert beside(request_) == [".tiny.lock", ".tiny.partial.n1"]
    before = set(hub.sent)
    hub.files["model/weights.safetensors"] = weights
    hub.sent.clear()
    assert fetch(request_).fetched
    assert before | set(hub.sent) == set(FILES)
    assert not before & set(hub.sent)


def test_a_fetch_that_is_killed_while_the_disk_takes_it_in_is_gone_on_from(
    hub: Hub, request_: FetchRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(descriptor: int) -> None:
        if "weights" in str(Path(f"/proc/self/fd/{descriptor}").readlink()):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(request_)
    hub.sent.clear()
    stamp = (request_.partial / "model/weights.safetensors").stat().st_mtime_ns
    assert fetch(request_).fetched
    assert (request_.target / "model/weights.safetensors").stat().st_mtime_ns == stamp
    assert hub.sent == []


def test_what_was_fetched_of_another_revision_is_thrown_away(hub: Hub, request_: FetchRequest) -> None:
    request_.partial.mkdir(parents=True)
    (request_.partial / program.SOURCE).write_text('{"repo": "org/other"}')
    (request_.partial / "stray").write_text("")
    fetch(request_)
    assert "stray" not in names(request_.target)


def test_a_command_fills_the_folder(request_: FetchRequest) -> None:
    asked = by_command(request_, "import sys, pathlib; pathlib.Path(sys.argv[1], 'x').write_text('1')")
    assert fetch(asked).fetched
    assert names(asked.target) == [".disagg-model.json", "x"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("half.touch(); sys.exit(3)", "ended with exit code 3, expected 0"),
        ("pass", "ended with 0 and left nothing in "),
        ("half.touch(); os.kill(os.getpid(), 9)", "ended with signal 9"),
    ],
)
def test_a_command_that_fails(request_: FetchRequest, code: str, words: str) -> None:
    prelude = "import os, sys, pathlib; half = pathlib.Path(sys.argv[1], 'half')"
    assert words in error_of(by_command(request_, f"{prelude}; {code}"))
    # No other process could go on from what it left.
    assert beside(request_) == [".tiny.lock"]


def test_a_command_that_is_not_there(request_: FetchRequest) -> None:
    asked = replace(request_, repo=None, command=("/no/such/program", "{folder}"))
    assert "cannot start '/no/such/program' (model.command): No such file" in error_of(asked)


def test_the_folder_that_is_there_first_stays(request_: FetchRequest) -> None:
    """Where no lock keeps a second process away, it ends with the first one's folder."""
    code = f"""
import pathlib, sys
for folder, text in ((sys.argv[1], 'mine'), ({str(request_.target)!r}, 'theirs')):
    pathlib.Path(folder).mkdir(exist_ok=True)
    pathlib.Path(folder, 'x').write_text(text)
"""
    fetch(by_command(request_, code))
    assert (request_.target / "x").read_text() == "theirs"
    assert beside(request_) == [".tiny.lock", "tiny"]


def test_a_file_system_without_locks_is_said(
    request_: FetchRequest, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    fetch(by_command(request_, "import sys, pathlib; pathlib.Path(sys.argv[1], 'x').write_text('1')"))
    assert "Function not implemented: others may fetch the same" in capfd.readouterr().out


def test_a_models_root_that_cannot_be_written(request_: FetchRequest, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    asked = replace(request_, target=tmp_path / "file/tiny")
    with pytest.raises(
        FetchError, match=r"cannot fetch org/tiny at main to .*file/tiny: .*Not a directory|File exists"
    ):
        fetch(asked)


def test_the_program_answers_in_its_file(request_: FetchRequest, tmp_path: Path) -> None:
    asked = by_command(request_, "import sys; sys.exit(3)")
    (tmp_path / "request.json").write_text(asked.to_json())
    assert FetchRequest.from_json(asked.to_json()) == asked
    assert program.main(str(tmp_path / "request.json")) == program.FAILED
    assert "expected 0" in json.loads(asked.result.read_text())["error"]


def test_words_of_progress(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1500)
    assert in_words(size_of(tmp_path)) == "1.5 kB"
    assert (in_words(7), in_words(2 * 10**9)) == ("7 bytes", "2.0 GB")
    assert read_holder(tmp_path / "none") is None
    assert size_of(tmp_path / "none") == 0
