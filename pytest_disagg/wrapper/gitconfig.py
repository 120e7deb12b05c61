"""git's settings for one task, in a file of its own: no two tasks write one ~/.gitconfig on a shared HOME."""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path

CLONE_TOKEN = "GITHUB_CLONE_TOKEN"


def use_own_config(environ: MutableMapping[str, str], folder: Path) -> Path:
    """Write ``folder/gitconfig`` (mode 0600) and make it git's global configuration through GIT_CONFIG_GLOBAL.

    It includes the user's own files, so that nothing is lost, and adds ``safe.directory = *``: checkouts on a node
    often belong to another user. (Through GIT_CONFIG_COUNT git heeds safe.directory only since 2.38.) A
    GITHUB_CLONE_TOKEN becomes part of every github.com address, for pip's ``git+https`` requirements.
    """
    given = environ.get("GIT_CONFIG_GLOBAL")
    home = Path(environ.get("HOME") or "/")
    ours = [given] if given else [str(Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "git" / "config")]
    ours += [] if given else [str(home / ".gitconfig")]
    lines = [line for path in ours for line in ("[include]", f"\tpath = {_quoted(path)}")]
    lines += ["[safe]", "\tdirectory = *"]
    token = environ.get(CLONE_TOKEN)
    if token:
        lines += [f"[url {_quoted(f'https://x-access-token:{token}@github.com/')}]"]
        lines += ["\tinsteadOf = https://github.com/"]
    path = folder / "gitconfig"
    path.touch(mode=0o600)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    environ["GIT_CONFIG_GLOBAL"] = str(path)
    return path


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
