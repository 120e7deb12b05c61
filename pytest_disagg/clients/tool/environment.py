"""The environment of a program that asks a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

_NAMES = ("no_proxy", "NO_PROXY")


def without_proxy(environ: Mapping[str, str], url: str) -> dict[str, str]:
    """``environ`` in which a program asks the host of ``url`` itself: a site's proxy is for what it fetches.

    Programs heed ``http_proxy`` (vLLM's and TensorRT-LLM's load generators open their sessions with aiohttp's
    ``trust_env``), and a proxy holds chunks back and times them anew. Some read only the one name, some only the other,
    so both get what either says.
    """
    found = dict(environ)
    listed = next((given for name in _NAMES if (given := environ.get(name))), "")
    for name in _NAMES:
        own = environ.get(name) or listed
        # With anything beside it the star is a name like others.
        found[name] = own if own == "*" else ",".join(filter(None, (own, urlsplit(url).hostname)))
    return found
