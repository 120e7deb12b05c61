"""Runs one coroutine in an event loop of its own: uvloop where it is installed, else asyncio's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def new_loop(*, prefer_uvloop: bool = True) -> tuple[asyncio.AbstractEventLoop, str]:
    """A new event loop and its name."""
    if prefer_uvloop:
        try:
            import uvloop
        except ImportError:
            pass
        else:
            return uvloop.new_event_loop(), "uvloop"
    return asyncio.new_event_loop(), "asyncio"


def run(main: Callable[[str], Coroutine[Any, Any, T]], *, prefer_uvloop: bool = True) -> T:
    """Run ``main(name of the loop)`` to its end. Whatever it left is cancelled, also on an interrupt."""
    loop, name = new_loop(prefer_uvloop=prefer_uvloop)
    try:
        return loop.run_until_complete(main(name))
    finally:
        try:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
