"""A tarball never writes outside the folder it is unpacked into."""

from __future__ import annotations

import io
import stat
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_disagg.wrapper.archive import unpack
from pytest_disagg.wrapper.console import WrapperError
from pytest_disagg.wrapper.stopping import Stopping


def member(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    data = b"new" if kind == tarfile.REGTYPE else b""
    info.size = len(data)
    return info, data


@pytest.fixture
def tarball(tmp_path: Path) -> Callable[..., Path]:
    def make(*members: tuple[tarfile.TarInfo, bytes]) -> Path:
        path = tmp_path / "x.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for info, data in members:
                tar.addfile(info, io.BytesIO(data))
        return path

    return make


LINK, HARD = tarfile.SYMTYPE, tarfile.LNKTYPE

HOSTILE = {
    "absolute": [member("/{outside}/f")],
    "dots": [member("a/../../outside/f")],
    "dots that lead back in": [member("a/../f")],
    "dots first": [member("../outside/f")],
    "link out, then through it": [member("l", LINK, "../outside"), member("l/f")],
    "absolute link": [member("l", LINK, "/{outside}")],
    "link to a link": [member("a/l", LINK, ".."), member("m", LINK, "a/l/../outside"), member("m/f")],
    "link made before its way": [member("e", LINK, "d/l/../outside"), member("d/l", LINK, ".."), member("e/f")],
    "hard link out": [member("h", HARD, "../outside/secret")],
    "absolute hard link": [member("h", HARD, "/{outside}/secret")],
    "file over a link": [member("a/f", LINK, "../../outside/f"), member("a/f")],
    "device": [member("d", tarfile.CHRTYPE)],
    "pipe": [member("p", tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_would_lead_out_is_refused(tmp_path: Path, tarball: Callable[..., Path], name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("old")
    members = []
    for info, data in HOSTILE[name]:
        info.name = info.name.replace("/{outside}", str(outside))
        info.linkname = info.linkname.replace("/{outside}", str(outside))
        members.append((info, data))
    with pytest.raises(WrapperError, match=r"member '.*: refused|cannot unpack") as caught:
        unpack(tarball(*members), tmp_path / "in", Stopping())
    assert caught.value.exit_code == 9
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == "old"


@pytest.mark.parametrize("filtered", [True, False], ids=["with tarfile's filter", "without"])
def test_a_link_that_was_there_before_is_not_followed(
    tmp_path: Path, tarball: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, filtered: bool
) -> None:
    """Old Pythons have no filter of their own; ours must do."""
    if not filtered:
        if sys.version_info >= (3, 12):
            pytest.skip("this Python always has the filter")
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    (tmp_path / "outside").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "l").symlink_to(tmp_path / "outside")
    with pytest.raises(WrapperError, match="member 'l/f' leads out of the folder through a link: refused"):
        unpack(tarball(member("l/f")), tmp_path / "in", Stopping())
    assert not list((tmp_path / "outside").iterdir())


def test_files_folders_and_links_inside_are_unpacked(tmp_path: Path, tarball: Callable[..., Path]) -> None:
    path = tarball(
        member("src", tarfile.DIRTYPE, mode=0o755),
        member("src/run", mode=0o4755),
        member("src/link", LINK, "run"),
        member("up", LINK, "src/../src/run"),
        member("src/hard", HARD, "src/run", mode=0o4755),
        member("implied/folder/f"),
    )
    folder = tmp_path / "in"
    for _ in range(2):  # A second time over what is there.
        assert unpack(path, folder, Stopping()) == 6
    assert (
        (folder / "src/link").read_text() == (folder / "up").read_text() == (folder / "src/hard").read_text() == "new"
    )
    assert stat.S_IMODE((folder / "src/run").stat().st_mode) == 0o755
    assert (folder / "implied/folder/f").is_file()


@pytest.mark.parametrize(
    "damage", [lambda data: b"no tarball", lambda data: data[: len(data) // 2]], ids=["none", "torn"]
)
def test_what_is_no_whole_tarball_is_named(
    tmp_path: Path, tarball: Callable[..., Path], damage: Callable[[bytes], bytes]
) -> None:
    path = tarball(*(member(f"f{number}") for number in range(50)))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(WrapperError, match=f"cannot unpack {path} into"):
        unpack(path, tmp_path / "in", Stopping())
