"""Threads for what would hold the event loop up: hashing bodies, RSA.

Both let go of Python's lock while they work, so a few threads use as many cores.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_POOL: Final = ThreadPoolExecutor(min(4, os.cpu_count() or 1), "tideover-crypto")


def in_thread(function: Callable[[Unpack[Ts]], T], *args: *Ts) -> "asyncio.Future[T]":
    """Call it in one of the threads."""
    return asyncio.get_running_loop().run_in_executor(_POOL, function, *args)
