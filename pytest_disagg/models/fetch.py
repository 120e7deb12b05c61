"""``python -m pytest_disagg.models.fetch REQUEST``: fetch a model once, whoever else wants it at the same moment.

REQUEST is a file with a :class:`FetchRequest`. The lock is the kernel's (flock), so it ends with whoever holds it,
however that one ends; no lock file ever has to be removed. A model is fetched to a folder beside its own and renamed,
so a folder under its name is whole. What a process that was killed left is taken up again by the next one on its node.

Where a file system has no locks, or its locks hold on one node alone, a model may be fetched more than once; the folder
that is there first stays.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from pytest_disagg.models import hub
from pytest_disagg.models.request import (
    ORIGIN,
    Fetched,
    FetchError,
    FetchRequest,
    check_origin,
    in_words,
    read_holder,
    size_of,
)
from pytest_disagg.redact import redact

FAILED = 1
SOURCE = ".disagg-source.json"
"""In a partial folder: what it is being filled from."""


def main(path: str) -> int:
    """Fetch what the request in ``path`` asks for and write the answer; the exit code."""
    request = FetchRequest.from_json(Path(path).read_text(encoding="utf-8"))
    try:
        answer = asdict(fetch(request))
    except FetchError as error:
        answer = {"error": redact(str(error))}
    print(answer.get("error") or f"{request.target}: {answer}", flush=True)
    _write(request.result, answer)
    return FAILED if "error" in answer else 0


def fetch(request: FetchRequest) -> Fetched:
    """Have the model at its target, fetched by this process or by another.

    Raises:
        FetchError: it could not be fetched.
    """
    try:
        request.target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(request):
            if request.target.is_dir():
                check_origin(request)
                return Fetched(False, size_of(request.target))
            return _fetch(request)
    except OSError as error:
        words = f"{error.filename or request.target}: {error.strerror or error}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            shutil.rmtree(request.partial, ignore_errors=True)
            words += f"; {in_words(shutil.disk_usage(request.target.parent).free)} are free there"
        raise FetchError(f"cannot fetch {request.source_words} to {request.target}: {words}") from error


def _fetch(request: FetchRequest) -> Fetched:
    began, folder = time.monotonic(), _partial(request)
    _write(request.holder, {"who": request.who, "folder": str(folder)})
    try:
        commit = ""
        if request.repo is not None:
            commit = hub.fetch(request, folder)
        else:
            _run(request, folder)
        # Of a big model this takes minutes, in which what is there can still be gone on from; the rest takes none.
        _to_disk(folder)
        (folder / SOURCE).unlink()
        size = size_of(folder)
        _write(folder / ORIGIN, {**request.source, "commit": commit})
        _put(request, folder)
    except FetchError:
        if request.repo is None:
            # A command cannot be told to go on from what it left: it would lie there for nothing.
            shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        request.holder.unlink(missing_ok=True)
    return Fetched(True, size, round(time.monotonic() - began, 3), commit)


def _partial(request: FetchRequest) -> Path:
    """The folder to fill: what this node has of the same repository already, else an empty one."""
    folder, source = request.partial, json.dumps(request.source, sort_keys=True)
    with contextlib.suppress(OSError):
        if request.repo is not None and (folder / SOURCE).read_text(encoding="utf-8") == source:
            print(f"{folder}: going on from {in_words(size_of(folder))}", flush=True)
            return folder
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()
    (folder / SOURCE).write_text(source, encoding="utf-8")
    return folder


def _run(request: FetchRequest, folder: Path) -> None:
    words = [word.replace("{folder}", str(folder)) for word in request.command]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, check=False)
    except OSError as error:
        raise FetchError(f"cannot start {words[0]!r} (model.command): {error.strerror or error}") from error
    if done.returncode:
        how = f"exit code {done.returncode}" if done.returncode > 0 else f"signal {-done.returncode}"
        raise FetchError(f"model.command {shlex.join(words)} ended with {how}, expected 0")
    if not any(path.name != SOURCE for path in folder.iterdir()):
        raise FetchError(f"model.command {shlex.join(words)} ended with 0 and left nothing in {folder}")


def _to_disk(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            _flush(path)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _put(request: FetchRequest, folder: Path) -> None:
    """The whole folder under its own name, unless a process that no lock kept away was faster."""
    try:
        folder.rename(request.target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        print(f"{request.target} is there already: {folder} is not needed", flush=True)
        shutil.rmtree(folder)


@contextlib.contextmanager
def _alone(request: FetchRequest) -> Iterator[None]:
    """Hold the model's lock; says whom it waits for."""
    with os.fdopen(os.open(request.lock, os.O_RDWR | os.O_CREAT, 0o666), "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = read_holder(request.holder)
            print(f"waiting for {holder[0] if holder else 'another process'} to fetch {request.target}", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK):
                raise
            print(f"{request.lock}: {error.strerror}: others may fetch the same", flush=True)
        yield


def _write(path: Path, data: object) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(data, sort_keys=True), encoding="utf-8")
    _flush(temporary)
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
