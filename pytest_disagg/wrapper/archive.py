"""Unpacks a tarball into a folder and nowhere else, whatever its members are called."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path, PurePosixPath

from pytest_disagg.wrapper.console import WrapperError
from pytest_disagg.wrapper.stopping import Stopping

UNPACK_FAILED = 9


def unpack(archive: Path, folder: Path, stopping: Stopping) -> int:
    """Unpack ``archive`` (gzip, bzip2, xz or none) into ``folder``, replacing what is there; the number of members.

    Refused, before anything of that member is written: absolute names, ``..``, a member or a link that would lead out
    of ``folder``, devices. Owners are not taken over, set-id bits are dropped.

    Raises:
        WrapperError: no tarball, a torn one, or a member as above; names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    root = Path(os.path.realpath(str(folder)))
    count = 0
    try:
        with tarfile.open(str(archive), "r:*") as tar:
            for member in tar:
                stopping.check()
                _check(member, root, archive)
                _extract(tar, member, root)
                count += 1
    except (tarfile.TarError, EOFError, OSError) as error:
        raise WrapperError(f"cannot unpack {archive} into {folder}: {error}", UNPACK_FAILED) from error
    return count


def _check(member: tarfile.TarInfo, root: Path, archive: Path) -> None:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise _refused(archive, member, "leads out of the folder")
    if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
        raise _refused(archive, member, "is neither a file, a folder nor a link")
    target = root / name
    # The folder as it is on disk now: an earlier member may have been a link.
    parent = Path(os.path.realpath(str(target.parent)))
    if not _within(parent, root):
        raise _refused(archive, member, "leads out of the folder through a link")
    if member.issym() or member.islnk():
        start = parent if member.issym() else root
        end = Path(os.path.realpath(str(start / member.linkname)))
        if PurePosixPath(member.linkname).is_absolute() or not _within(end, root):
            raise _refused(archive, member, f"links to {member.linkname!r}, which is out of the folder")


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    target = root / member.name
    if not member.isdir() and (target.is_symlink() or target.exists()) and not target.is_dir():
        target.unlink()
    member.mode = (member.mode & 0o777) | (0o700 if member.isdir() else 0o600)
    member.uid, member.gid = os.getuid(), os.getgid()
    member.uname = member.gname = ""
    if hasattr(tarfile, "data_filter"):
        tar.extract(member, str(root), numeric_owner=True, filter="tar")
    else:
        tar.extract(member, str(root), numeric_owner=True)


def _within(path: Path, root: Path) -> bool:
    return path == root or root in path.parents


def _refused(archive: Path, member: tarfile.TarInfo, why: str) -> WrapperError:
    return WrapperError(f"{archive}: member {member.name!r} {why}: refused", UNPACK_FAILED)
