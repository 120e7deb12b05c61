"""KV cache blocks: kept by the CTX server that filled them, named by a handle, taken once by a GEN server."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

MAX_BLOCKS = 65_536
"""Blocks kept at a time; the oldest one is dropped for the next, so that abandoned requests cannot grow a server."""


@dataclass(frozen=True)
class Block:
    """The KV cache of one prompt."""

    ctx_request_id: int
    tokens: int


class BlockStore:
    """The blocks of one CTX server. A key is secret until it is issued, so a handle proves that prefill happened."""

    def __init__(self, capacity: int = MAX_BLOCKS) -> None:
        self._blocks: dict[str, Block] = {}
        self._capacity = capacity
        self._issued = 0

    def __len__(self) -> int:
        return len(self._blocks)

    def issue(self, tokens: int) -> tuple[str, Block]:
        """Keep a block of that many prompt tokens; returns its key."""
        if len(self._blocks) >= self._capacity:
            del self._blocks[next(iter(self._blocks))]
        self._issued += 1
        key, block = secrets.token_hex(16), Block(ctx_request_id=self._issued, tokens=tokens)
        self._blocks[key] = block
        return key, block

    def take(self, key: str) -> Block | None:
        """The block, which is gone from here afterwards; None where it never was or was taken before."""
        return self._blocks.pop(key, None)


def encode_handle(address: str, key: str) -> str:
    """``opaque_state``: base64 of a JSON object with the CTX server's ``host:port`` and the block's key."""
    return base64.b64encode(json.dumps({"address": address, "block": key}).encode()).decode()


def decode_handle(opaque_state: str) -> tuple[str, str]:
    """``host:port`` and key. Raises ValueError on anything :func:`encode_handle` did not make."""
    handle = json.loads(base64.b64decode(opaque_state, validate=True))
    if not isinstance(handle, dict):
        raise ValueError("no JSON object")
    address, key = handle.get("address"), handle.get("block")
    if not isinstance(address, str) or not isinstance(key, str) or not key.isalnum():
        raise ValueError("no address and block")
    parts = urlsplit(f"//{address}")
    if parts.netloc != address or not parts.hostname or parts.port is None:
        raise ValueError("the address is no host:port")
    return address, key
