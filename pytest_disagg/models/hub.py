"""A model from the Hugging Face Hub (``HF_ENDPOINT``, default huggingface.co), by ``huggingface_hub``."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from pytest_disagg.models.request import FetchError, FetchRequest, in_words, size_of
from pytest_disagg.redact import redact, register

ENDPOINT = "https://huggingface.co"
SPARE_BYTES = 1 << 28
"""Kept free on a file system: whoever fills it to the last byte breaks more than one run."""
_MEANINGS = {
    401: "expected a token that may read it (HF_TOKEN or model.token_file), or none for a public repository",
    403: "expected a token whose owner was granted access to the repository",
    404: "expected a repository and a revision that exist",
    429: "expected fewer requests: the Hub limits them, a token raises the limit",
}


def fetch(request: FetchRequest, folder: Path) -> str:
    """Fill ``folder`` (what is in it already is not fetched again); returns the commit that the revision names.

    Raises:
        FetchError: it could not be fetched; says repository, endpoint, HTTP status and what was expected.
        OSError: the disk is full.
    """
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        from huggingface_hub import HfApi, snapshot_download
    except ImportError as error:
        raise FetchError(
            f"cannot fetch {request.source_words}: {error} in {sys.executable}; pip install 'pytest-disagg[models]'"
        ) from error
    endpoint = os.environ.get("HF_ENDPOINT") or ENDPOINT
    token, repo, left_out = _token(request), request.repo or "", list(request.exclude)
    try:
        info = HfApi(endpoint=endpoint, token=token).model_info(repo, revision=request.revision, files_metadata=True)
        files = list(info.siblings or ())
        wanted = [each for each in files if not _left_out(each.rfilename, left_out)]
        if not wanted:
            raise FetchError(f"{request.source_words} has {len(files)} files, none of them is wanted")
        _check_space(request, folder, sum(each.size or 0 for each in wanted))
        commit = info.sha or request.revision
        # By its commit: a branch may move while its files are fetched one after the other.
        snapshot_download(
            repo, revision=commit, local_dir=folder, token=token, ignore_patterns=left_out, endpoint=endpoint
        )
    except FetchError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise FetchError(_why(request, endpoint, error)) from error
    except Exception as error:
        # Of several HTTP libraries, and each ends this program with one line.
        raise FetchError(_why(request, endpoint, error)) from error
    if missing := [each.rfilename for each in wanted if not (folder / each.rfilename).is_file()]:
        raise FetchError(f"{request.source_words}: {len(missing)} files did not come: {', '.join(missing[:3])}")
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    return commit


def _left_out(name: str, patterns: Sequence[str]) -> bool:
    """As the library takes patterns: one that ends with a slash is all that lies below it."""
    return any(fnmatch(name, f"{pattern}*" if pattern.endswith("/") else pattern) for pattern in patterns)


def _token(request: FetchRequest) -> str | None:
    """Of the file that the case names; None leaves it to the library, which knows HF_TOKEN and its own file."""
    if request.token_file is None:
        return None
    try:
        token = Path(request.token_file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise FetchError(f"model.token_file {request.token_file}: {getattr(error, 'strerror', error)}") from error
    if not token:
        raise FetchError(f"model.token_file {request.token_file}: found nothing in it, expected a token")
    register(token)
    return token


def _check_space(request: FetchRequest, folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    needed = size - size_of(folder) + SPARE_BYTES
    if needed > free:
        raise FetchError(
            f"{request.source_words} has {in_words(size)}; {folder.parent} has {in_words(free)} free, expected at "
            f"least {in_words(needed)}"
        )


def _why(request: FetchRequest, endpoint: str, error: Exception) -> str:
    status: Any = getattr(getattr(error, "response", None), "status_code", None)
    words = redact(" ".join(str(error).split()))[:300]
    what = f"HTTP {status}" if status else type(error).__name__
    meaning = f"; {_MEANINGS[status]}" if status in _MEANINGS else ""
    return f"cannot fetch {request.source_words} from {endpoint}: {what}{meaning}: {words}"
