"""What is not here as it was then: each difference in one line, with what would mend it."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_disagg.clients import registry
from pytest_disagg.config.case import NATIVE
from pytest_disagg.config.text import shown
from pytest_disagg.records.manifest import git_state, installed
from pytest_disagg.version import __version__


def package_differences(manifest: Mapping[str, Any], here: Mapping[str, Any] | None = None) -> list[str]:
    """How this installation differs from the one that played the run. ``here`` is the git state of this one's source.

    What an installation without git has of commits is not known, and so no difference.
    """
    then = manifest["git"]["package"]
    now = git_state(Path(__file__).parent) if here is None else here
    found = []
    if manifest["version"] != __version__:
        hint = f"pip install pytest-disagg=={manifest['version']}"
        found.append(f"pytest-disagg was {manifest['version']}, here it is {__version__}: {hint}")
    before, after = then.get("sha"), now.get("sha")
    if before and after and before != after:
        hint = f"git -C {now.get('root') or '.'} checkout {before[:12]}"
        found.append(f"pytest-disagg was at commit {before[:12]}, here it is at {after[:12]}: {hint}")
    if then.get("dirty") is True:
        found.append(f"pytest-disagg was a modified checkout of {str(before)[:12]}; its changes are not known")
    elif before and now.get("dirty") is True:
        found.append(f"the checkout of pytest-disagg in {now.get('root')} is modified, then it was not: git stash")
    return found


def version_differences(manifest: Mapping[str, Any], here: Mapping[str, str] | None = None) -> list[str]:
    """In what the Python that played BENCHMARK differs from this one: its version, and its packages, an engine's among
    them. ``here`` is what is installed. What came since is no difference.
    """
    found = []
    before, after = manifest.get("python", {}).get("version"), platform.python_version()
    if before and before != after:
        found.append(f"Python was {before}, here it is {after}")
    now = installed() if here is None else here
    then = manifest.get("packages", {})
    if "error" in then:
        then = {}
    # It has a line of its own, see package_differences.
    others = {name: version for name, version in then.items() if now.get(name) != version and name != "pytest-disagg"}
    if others:
        words = ", ".join(f"{name} was {version}, here {now.get(name, 'missing')}" for name, version in others.items())
        hint = " ".join(f"{name}=={version}" for name, version in others.items())
        found.append(f"{words}: pip install {hint}")
    return found


def client_difference(manifest: Mapping[str, Any]) -> list[str]:
    """Another version of the load generator's program than the one that measured, or none.

    ``native`` is of this package's version; that of a client of a conftest is not known here.
    """
    client = manifest.get("client", {"name": NATIVE})
    name = client["name"]
    if name == NATIVE or name not in registry.names():
        return []
    then, program = client["version"], registry.get(name)
    if (reason := program.unavailable()) is not None:
        return [f"client {name} was {then}, here: {reason}"]
    now = program.version()
    return [] if now == then else [f"client {name} was {then}, here it is {now}"]


def image_difference(manifest: Mapping[str, Any], image: str | None) -> list[str]:
    """Another image, or none, instead of the one that the roles ran in. An image that a case file names is no proof
    that they did.
    """
    part = manifest["container"]
    then = part.get("image") if part.get("from") != "environment.container_image" else None
    if then == image:
        return []
    return [f"the roles ran in image {then or '(none)'}, now in {image or '(none)'}"]


def config_differences(before: object, after: object, key: str = "") -> Iterator[str]:
    """The keys in which two effective configs differ, with both values."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys((*before, *after)):
            inner = f"{key}.{name}" if key else str(name)
            yield from config_differences(before.get(name), after.get(name), inner)
    elif before != after:
        yield f"{key}: {shown(before)} then, {shown(after)} now"
